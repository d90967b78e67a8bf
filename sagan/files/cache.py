"""The folder for everything that is computed or downloaded once and kept."""

import os
import sys
from pathlib import Path


def folder() -> Path:
    """Returns `$SAGAN_CACHE`; else `$XDG_CACHE_HOME/sagan`; else `~/.cache/sagan`.

    A variable that is empty counts as unset, and so does an `XDG_CACHE_HOME` that is not an
    absolute path, as the XDG Base Directory Specification demands.
    """
    if given := os.environ.get("SAGAN_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path("~/.cache").expanduser()) / "sagan"


def keep_compiled_programs() -> None:
    """Makes jax store compiled programs in this folder, so that the next start need not compile.

    Does nothing if the user has chosen a folder for them, with jax's own variable or setting; nor
    in a job of several processes, which would wait for one another to write to the folder.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or os.environ.get("SAGAN_COORDINATOR"):
        return
    place = str(folder() / "jax")
    if "jax" not in sys.modules:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = place
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
        return
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", place)
        if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        compilation_cache.reset_cache()  # jax looks for a folder at its first compilation only
