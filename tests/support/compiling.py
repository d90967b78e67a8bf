"""How tests compile: quickly, since what they compile runs for milliseconds."""

import os
from importlib.metadata import version

# XLA divides a program into parts that several threads compile. Tests run side by side and have no
# idle cores, so that the parts only cost a quarter more time.
_FLAGS = ["--xla_cpu_parallel_codegen_split_count=1"]
# XLA's newer way to compile fused operations for CPUs takes twice the time. From jaxlib 0.11 on
# it is the only one, and XLA ends a process that asks for the other.
if tuple(int(part) for part in version("jaxlib").split(".")[:2]) < (0, 11):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")


def environment(devices: int = 1) -> dict[str, str]:
    """Returns variables that make a process compile quickly, for so many CPU devices."""
    return {
        "XLA_FLAGS": " ".join([*_FLAGS, f"--xla_force_host_platform_device_count={devices}"]),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }


def compile_quickly(devices: int) -> None:
    """Sets these variables for this process, unless it was started with others; before jax.

    Compiled programs are kept in the user's cache folder, for the next time.
    """
    for name, value in environment(devices).items():
        os.environ.setdefault(name, value)
    # jax reads those variables when it is imported. Importing `sagan` imports it, because pytest
    # has its types checked.
    import jax

    from sagan.files import cache

    folder = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache.folder() / "jax"))
    jax.config.update("jax_compilation_cache_dir", folder)
