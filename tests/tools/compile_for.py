"""Compiles a preset's training step for devices that are not there, and prints what it needs.

    python tests/tools/compile_for.py v5e:2x2 imagenet128 model.dtype=bfloat16
    python tests/tools/compile_for.py h100 cifar10 [--hlo FILE]

Needs `pip install -e ".[tpu]"`, or `".[gpu]"`, and no such device. Data are synthetic images; the
program is the one that training runs. For a GPU it lists the convolutions that cuDNN would be
given: one with a window as large as a map, or of 4x4 without a stride, was not recognised.
"""

import argparse
import collections
import functools
import json
import os
import re
import time
from pathlib import Path

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}

import jax  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import AxisType, NamedSharding, PartitionSpec  # noqa: E402

from sagan import data, tasks  # noqa: E402
from sagan.config import presets  # noqa: E402
from sagan.data.pipeline import Feed, Pipeline  # noqa: E402
from sagan.parallel import flops, platform  # noqa: E402
from sagan.parallel.devices import AXIS, Devices  # noqa: E402
from sagan.parallel.platform import Platform  # noqa: E402
from sagan.training import dispatch, state  # noqa: E402
from sagan.training.prepare import decoder_of  # noqa: E402

# As NVIDIA's data sheet and cudaGetDeviceProperties give it.
H100 = """
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
CLASSES = {"cifar10": 10, "imagenet128": 1000, "imagenet128_paper": 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topology", help="h100, or a TPU's: v5e:2x2")
    parser.add_argument("words", nargs="+", metavar="CONFIG [section.field=value …]")
    parser.add_argument("--hlo", type=Path, help="writes the compiled program there")
    args = parser.parse_args()
    name, *overrides = args.words
    on_gpu = args.topology == "h100"
    classes = f"model.num_classes={CLASSES.get(name, 4)}"
    config = presets.load(name, ["data.name=synthetic", classes, *overrides])
    source = data.load(config.data, config.model.image_size)
    # What the pipeline of one host would feed, as shapes on the devices that are not there.
    pipeline = Pipeline(Feed.of(config, config.train.d_steps_per_g_step), source, Devices())
    if on_gpu:
        absent = topologies.get_topology_desc(
            platform="cuda", topology_name="", target_config=H100, topology="1x1x1"
        ).devices
    else:
        absent = topologies.get_topology_desc(platform="tpu", topology_name=args.topology).devices
    devices = Devices("shard_map", absent)

    def shapes(tree, spec):
        mesh = jax.sharding.Mesh(np.array(absent), (AXIS,), axis_types=(AxisType.Auto,))
        place = NamedSharding(mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    # The layers and loops are to take the forms that they have on those devices.
    hardware = (
        Platform("gpu", "NVIDIA H100 80GB HBM3", "9.0") if on_gpu else Platform("tpu", "", "")
    )
    platform.current = lambda: hardware
    if on_gpu and config.model.attention_form == "flash":
        _say_what_cudnn_is()
    task = tasks.build(config, devices.count)
    program = devices.compile(dispatch.bind(task, decoder_of(config)), Pipeline.BATCH_AXIS)
    start = devices.abstract(functools.partial(state.init, task, config.seed))
    split = PartitionSpec(*[None] * Pipeline.BATCH_AXIS, AXIS)
    arguments = (
        start,
        shapes(pipeline.data, PartitionSpec()),
        shapes(pipeline.abstract(config.train.steps_per_dispatch), split),
    )
    begin = time.perf_counter()
    lowered = program.lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    text = compiled.as_text()
    if args.hlo:
        args.hlo.write_text(text)
    collectives = re.findall(r"\b(all-\w+|reduce-scatter|collective-\w+)\(", text)
    found = {
        "config": config.name,
        "devices": f"{devices.count} x {absent[0].device_kind}",
        "batch_size": config.train.batch_size,
        "dtype": config.model.dtype,
        "trace_seconds": round(traced - begin, 1),
        "compile_seconds": round(done - traced, 1),
        "matmul_flops_per_device": flops.matmuls(flops.jaxpr_of(program, *arguments)),
        **flops.bytes_of(compiled),
        "collectives": sorted(set(collectives)),
    }
    if on_gpu:
        found["convolutions"] = convolutions(text)
    print(json.dumps(found))


def _say_what_cudnn_is() -> None:
    """Makes JAX believe in an H100: it asks a real device before it lowers to cuDNN's attention."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    cudnn.check_cudnn_version = lambda: 91000
    cudnn.check_compute_capability = lambda _: True
    cudnn.is_cuda_compute_capability_equal = lambda capability: capability == "9.0"


def convolutions(text: str) -> dict[str, int]:
    """Counts the convolutions of a compiled program by direction and window."""
    found = re.findall(
        r"= \(?(\w+)\[.*custom-call.*window={(.*?)}.*custom_call_target=\"__cudnn\$(\w+)\"", text
    )
    return dict(collections.Counter(f"{kind} {window} {dtype}" for dtype, window, kind in found))


if __name__ == "__main__":
    main()
