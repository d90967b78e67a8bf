"""Compiles a config's training step for TPU slices and GPUs that are not there.

XLA's compilers for TPUs and GPUs run on any machine. What they say of the program (memory, memory
traffic, collectives) holds on the real chips; how long it runs there is predicted.
"""

import os
import re
import time
from collections import Counter
from typing import Any

import jax

from sagan.bench import traced
from sagan.bench.timing import say
from sagan.config import Config, ConfigError
from sagan.config.fields import require
from sagan.launch.cost import H100, Machine, Nodes, Torus, machine
from sagan.parallel import flops
from sagan.parallel.chips import CHIPS
from sagan.parallel.platform import Platform

# A GPU is described to XLA by what the data sheet and cudaGetDeviceProperties say of it.
_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000  l2_cache_size: 52428800  device_memory_size: 84942979072
  cuda_compute_capability { major: 9 minor: 0 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""


class DoesNotFit(Exception):
    """The compiler found that the program needs more memory than the chip has."""


def compile_for(name: str, config: Config) -> dict[str, Any]:
    """Compiles one training step for a machine, and describes the program.

    Args:
      name: of the machine, as `cost.machine` takes it.

    Returns:
      A description of the step; `memory`, in bytes on each chip; `flops` of the step and
      `bytes_accessed` (traffic with its memory) on each chip; `collectives`, the number of each
      kind in the program; `trace_seconds` and `compile_seconds`; and `predicted`: the seconds that
      arithmetic and memory traffic take at the chip's peak (`roofline_seconds` is the larger),
      and those of communication, by the model of `sagan/launch/cost.py`. A step on a real chip
      takes longer than the prediction, because nothing reaches its peak. For GPUs XLA does not
      count the traffic, which is None then.

    Raises:
      ConfigError: the name is unknown, the compiler is not installed, or the config cannot be
        trained on so many chips.
      DoesNotFit: the program needs more memory than a chip has.
    """
    target = machine(name)
    form = getattr(config.model, "attention_form", None)
    require(
        isinstance(target, Torus) or form != "flash",
        "model.attention_form=flash with --compile-for h100: cuDNN must be asked, and it is not "
        "here; allowed: auto, full, memory_efficient, local_1d, local_2d",
    )
    devices, hardware = devices_of(target)
    say(f"tracing {config.name} for {name}")
    begin = time.perf_counter()
    step = traced.trace(config, devices, hardware)
    lowered = step.traced.lower()
    traced_at = time.perf_counter()
    say(f"compiling {config.name} for {name}")
    compiled = compile_afresh(lowered)
    done_at = time.perf_counter()
    jaxpr = step.traced.jaxpr
    arithmetic = flops.of_compiled(compiled, jaxpr, hardware) or flops.matmuls(jaxpr)
    traffic = flops.traffic(compiled, jaxpr)
    return {
        "config": config.name,
        "devices": f"{target.devices} x {devices[0].device_kind}",
        "batch_size": config.train.batch_size,
        "dtype": getattr(config.model, "dtype", "float32"),
        "trace_seconds": round(traced_at - begin, 1),
        "compile_seconds": round(done_at - traced_at, 1),
        "memory": flops.bytes_of(compiled) | {"chip_bytes": target.chip.memory_bytes},
        "flops": arithmetic,
        "bytes_accessed": traffic,
        "collectives": _collectives(compiled.as_text()),
        "predicted": _predicted(target, arithmetic, traffic, step),
    }


def _predicted(
    target: Machine, arithmetic: float, traffic: float | None, step: traced.Step
) -> dict[str, Any]:
    chip = target.chip
    assert chip.memory_bandwidth is not None
    products = arithmetic / chip.peak_flops
    memory = None if traffic is None else traffic / chip.memory_bandwidth
    communication = sum(map(target.all_reduce, flops.messages(step.traced.jaxpr)))
    roofline = max(products, memory or 0.0)
    seconds = roofline + communication
    return {
        "arithmetic_seconds": products,
        "memory_seconds": memory,
        "roofline_seconds": roofline,
        "communication_seconds": communication,
        "seconds_per_step": seconds,
        "images_per_second": step.num_images / seconds,
    }


def compile_afresh(lowered: Any) -> Any:
    """Compiles a program without the cache, which cannot return programs for absent devices.

    Raises: DoesNotFit if it needs more memory than a chip has.
    """
    options: Any = jax.config
    cached = options.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        return lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise DoesNotFit(str(error)) from error
        raise
    finally:
        jax.config.update("jax_enable_compilation_cache", cached)


def devices_of(target: Machine) -> tuple[list[Any], Platform]:
    """Returns device objects that stand for a machine, and its platform.

    Programs can be compiled for these devices, but not run.

    Raises: ConfigError if the compiler is not installed or does not know the machine.
    """
    from jax.experimental import topologies

    # libtpu asks nobody which TPU this is, and does not lock the one that may be here.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        if isinstance(target, Torus):
            described = topologies.get_topology_desc(target.name, "tpu", **_options(target))
        else:
            described = topologies.get_topology_desc(
                "", "cuda", target_config=_H100, topology=_partitions(target)
            )
    except Exception as error:
        extra = "tpu" if isinstance(target, Torus) else "gpu"
        raise ConfigError(
            f"--compile-for {target.name}: its compiler is not here, or does not know this "
            f'machine: {error}. pip install "sagan[{extra}]" installs it'
        ) from error
    devices = list(described.devices)
    require(
        len(devices) == target.devices,
        f"--compile-for {target.name}: XLA counts {len(devices)} devices",
    )
    if isinstance(target, Torus):
        return devices, Platform("tpu", devices[0].device_kind, "")
    return devices, Platform("gpu", H100, "9.0")


def _options(target: Torus) -> dict[str, Any]:
    """Returns the options that libtpu needs in addition to the name of the slice."""
    options: dict[str, Any] = {}
    if target.chip is CHIPS["TPU v4"]:
        options["chip_config_name"] = "megacore"  # the two cores of a chip are one device
    if target.devices == 1:
        options["chips_per_host_bounds"] = [1, 1, 1]  # libtpu assumes hosts of four chips
    return options


def _partitions(target: Nodes) -> str:
    """Returns the topology of GPUs as XLA names it: partitions, hosts of each, GPUs of each."""
    each = min(target.per_node, target.devices)
    return f"1x{target.devices // each}x{each}"


def _collectives(text: str) -> dict[str, int]:
    """Counts the collectives of a compiled program by kind."""
    kinds = re.findall(r"\b(all-\w+|reduce-scatter|collective-\w+)(?:-start)?\(", text)
    return dict(Counter(kind.removesuffix("-start") for kind in kinds if "-done" not in kind))
