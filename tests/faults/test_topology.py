"""Rows 20 and 21: a run resumes on any number of devices and processes with the same numbers.

These are real processes, started through the command line; they train `debug`, logging each step.
"""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image
from support.closeness import differing

pytestmark = pytest.mark.faults

STEPS = 20
RUN = [
    "debug",
    # tests/support/parallel_run.py explains epsilon. In a larger batch, rounding would more often
    # change the sign of a ReLU's input.
    "train.batch_size=8",
    "optim.epsilon=1e-4",
    "log.every_steps=1",
    "sample.every_steps=20",
    "checkpoint.every_steps=5",
    "checkpoint.statistics_batches=2",
]


def train(cache, workdir, steps, *, devices=1, processes=1, form="shard_map"):
    environment = {
        **os.environ,
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(cache)),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "SAGAN_INIT_TIMEOUT": "600",
    }
    start = [sys.executable, "-m", "sagan"]
    verb = ["train"]
    if processes > 1:
        verb = ["launch", "local", "--processes", str(processes)]
    command = [*start, *verb, "--workdir", str(workdir), *RUN]
    command += [f"train.steps={steps}", f"train.parallel={form}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture(scope="module")
def straight(cache, tmp_path_factory):
    """A run of one process on one device, never interrupted."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    train(cache, workdir, STEPS)
    return workdir


def state(workdir):
    path = (workdir / "checkpoints" / str(STEPS) / "state").absolute()
    with ocp.PyTreeCheckpointer() as reader:
        tree = reader.metadata(path).item_metadata.tree
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        args = ocp.checkpoint_utils.construct_restore_args(tree, jax.tree.map(lambda _: here, tree))
        found = reader.restore(path, ocp.args.PyTreeRestore(restore_args=args))
    leaves, _ = jax.tree_util.tree_flatten_with_path(found)
    return {jax.tree_util.keystr(path): np.asarray(leaf, np.float64) for path, leaf in leaves}


def assert_same_run(a, b):
    assert differing(state(a), state(b)) == []
    lines = [
        [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
        for workdir in (a, b)
    ]
    assert [line["step"] for line in lines[1]] == list(range(1, STEPS + 1))
    for one, other in zip(*lines, strict=True):
        for key in ("loss/d", "loss/g", "logits/real", "grad_norm/d", "grad_norm/g"):
            assert other[key] == pytest.approx(one[key], rel=1e-5, abs=1e-6), (one["step"], key)
    pictures = [np.array(Image.open(workdir / "samples" / "20.png"), int) for workdir in (a, b)]
    assert np.abs(pictures[0] - pictures[1]).max() <= 1  # rounding to 8 bits may differ
    assert pictures[0].std() > 1


def test_20_21_resume_on_4_2_1_devices_then_by_2_processes(straight, cache, tmp_path):
    workdir = tmp_path / "run"
    train(cache, workdir, 5, devices=4)
    said = train(cache, workdir, 10, devices=2)
    assert f"resuming {workdir} from step 5" in said
    assert "from step 10" in train(cache, workdir, 15)
    assert "from step 15" in train(cache, workdir, STEPS, processes=2)
    assert_same_run(straight, workdir)


@pytest.mark.parametrize("processes, form", [(2, "pmap"), (4, "shard_map")])
def test_21_any_number_of_processes_computes_the_same_run(
    straight, cache, tmp_path, processes, form
):
    workdir = tmp_path / "run"
    train(cache, workdir, STEPS, processes=processes, form=form)
    assert_same_run(straight, workdir)


def test_the_comparison_sees_another_order_of_the_data(straight, cache, tmp_path):
    workdir = tmp_path / "run"
    RUN.append("seed=1")
    try:
        train(cache, workdir, STEPS)
    finally:
        RUN.remove("seed=1")
    with pytest.raises(AssertionError):
        assert_same_run(straight, workdir)
