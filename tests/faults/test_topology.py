"""Rows 20 and 21: a run resumes on any number of devices and processes with the same numbers.

These are real processes, started through the command line, which log each step. Their networks are
small, but have batch statistics over all devices and every other kind of state. That convolutions
and attention compute the same on any number of devices is shown in tests/parallel.
"""

import json
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from PIL import Image
from support import compiling, processes, runs
from support.closeness import differing

from sagan.launch.local import free_port

pytestmark = pytest.mark.faults

STEPS = 20
RUN = [
    "debug",
    # tests/support/parallel_run.py explains epsilon. In a larger batch, rounding would more often
    # change the sign of a ReLU's input.
    "train.batch_size=8",
    "model.name=support.dense_pair",
    "optim.epsilon=1e-4",
    "log.every_steps=1",
    "sample.every_steps=20",
    "checkpoint.every_steps=5",
    "checkpoint.statistics_batches=2",
]


def train(environment, workdir, steps, *, devices=1, count=1, form="shard_map"):
    """Trains up to a step with `count` processes; returns what the first one printed."""
    command = [sys.executable, "-m", "sagan", "train", "--workdir", str(workdir), *RUN]
    command += [f"train.steps={steps}", f"train.parallel={form}"]
    flags = compiling.environment(devices)
    address, more = f"127.0.0.1:{free_port()}", {"SAGAN_INIT_TIMEOUT": "600"}
    jobs = [processes.job(address, count, i) | more if count > 1 else {} for i in range(count)]
    started = [processes.Process(command, environment | flags | job) for job in jobs]
    try:
        for process in started:
            process.wait(runs.PATIENCE * 2)
    finally:
        for process in started:
            process.kill()
    for process in started:
        assert process.wait() == 0, process.stderr[-4000:]
    return started[0].stderr


@pytest.fixture(scope="module")
def straight(environment, tmp_path_factory):
    """A run of one process on one device, never interrupted."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    train(environment, workdir, STEPS)
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


def test_20_21_each_part_of_a_run_on_other_devices_and_processes(straight, environment, tmp_path):
    """Any difference in a part would be in the state that all later parts start from."""
    workdir = tmp_path / "run"
    train(environment, workdir, 5, count=4)
    for start, more in ((5, {"devices": 4}), (10, {}), (15, {"count": 2, "form": "pmap"})):
        said = train(environment, workdir, start + 5, **more)
        assert f"resuming {workdir} from step {start}" in said
    assert_same_run(straight, workdir)


def test_the_comparison_sees_another_order_of_the_data(straight, environment, tmp_path):
    workdir = tmp_path / "run"
    RUN.append("seed=1")
    try:
        train(environment, workdir, STEPS)
    finally:
        RUN.remove("seed=1")
    with pytest.raises(AssertionError):
        assert_same_run(straight, workdir)
