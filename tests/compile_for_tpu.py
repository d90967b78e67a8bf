"""Compiles a preset's training step for TPUs that are not there, and says what it came to.

    python tests/compile_for_tpu.py v5e:2x2 imagenet128 model.dtype=bfloat16

Needs `pip install -e ".[tpu]"` and no TPU. Data are synthetic images; the program is the one that
training runs.
"""

import functools
import json
import os
import re
import sys
import time

os.environ |= {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
}

import jax  # noqa: E402
from jax.experimental import topologies  # noqa: E402
from jax.sharding import NamedSharding, PartitionSpec  # noqa: E402

from sagan import data, mesh, presets, train_step  # noqa: E402
from sagan.bench import flops  # noqa: E402
from sagan.data._pipeline import Pipeline  # noqa: E402

CLASSES = {"cifar10": 10, "imagenet128": 1000, "imagenet128_paper": 1000}


def main(topology: str, name: str, *overrides: str) -> None:
    classes = f"model.num_classes={CLASSES.get(name, 4)}"
    config = presets.load(name, ["data.name=synthetic", classes, *overrides])
    source = data.load(config.data, config.model.image_size)
    # What one host's pipeline would hand over, as shapes on the devices that are not there.
    pipeline = Pipeline(config, source, mesh.Devices(), config.train.steps_per_dispatch)
    batch = next(pipeline.batches(0))
    absent = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    devices = mesh.Devices("shard_map", absent)
    whole, split = PartitionSpec(), PartitionSpec(*[None] * Pipeline.BATCH_AXIS, mesh.AXIS)

    def shapes(tree, spec):
        place = NamedSharding(devices._mesh, spec)
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    jax.default_backend = lambda: "tpu"  # layers and loops as they are there
    gan = train_step.build(config, devices.count)
    program = devices.compile(functools.partial(train_step.program, gan), Pipeline.BATCH_AXIS)
    state = devices.abstract(functools.partial(train_step.init, gan))
    arguments = state, shapes(pipeline.data, whole), shapes(batch, split)
    begin = time.perf_counter()
    lowered = program.lower(*arguments)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    collectives = re.findall(r"\b(all-\w+|reduce-scatter|collective-\w+)\(", compiled.as_text())
    print(
        json.dumps(
            {
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
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
