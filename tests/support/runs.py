"""Runs the debug preset in real processes, and compares two runs bit for bit."""

import json
import os
import sys
import time
from pathlib import Path

import jax
import orbax.checkpoint as ocp
from support import compiling, processes
from support.tiny import same_bits

OVERRIDES = [
    "train.steps=20", "log.every_steps=1", "sample.every_steps=10", "checkpoint.every_steps=5",
    "checkpoint.keep=10",
]  # fmt: skip
SMALL = ["model.name=support.dense_pair", "checkpoint.statistics_batches=0", "sample.every_steps=0"]
TESTS = Path(__file__).parents[1]
PATIENCE = 300  # seconds to wait for anything; generous, for a busy machine


def environment(cache: Path, **more: str) -> dict[str, str]:
    """Returns variables for one device, fast compiles, test modules, and a cache folder."""
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    return os.environ | compiling.environment() | {
        "PYTHONPATH": path,
        "SAGAN_CACHE": str(cache),
    } | more  # fmt: skip


def command(workdir: Path, *words: str) -> list[str]:
    """Returns the command that trains the debug preset."""
    return [
        *(sys.executable, "-m", "sagan", "train", "debug", *OVERRIDES, *words),
        *("--workdir", str(workdir)),
    ]


def small(workdir: Path, *words: str) -> list[str]:
    """Returns the command for small networks and no pictures: it starts three times as fast."""
    return command(workdir, *SMALL, *words)


def finish(words: list[str], environment: dict[str, str], status: int = 0) -> processes.Process:
    """Runs a process to its end and requires this exit status."""
    done = processes.run(words, environment, timeout=PATIENCE)
    assert done.returncode == status, f"exit {done.returncode}: {done.stderr[-4000:]}"
    return done


def wait_until(condition, *running) -> None:
    """Waits until `condition()`; fails if one of the processes `running` ends before."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        for process in running:
            assert process.poll() is None, f"exit {process.returncode}"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def logged(workdir: Path) -> int:
    """Counts the lines of scalars."""
    path = workdir / "metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def lines(workdir: Path) -> list[dict[str, float]]:
    """Reads the scalars, without those that measure time."""
    text = (workdir / "metrics.jsonl").read_text()
    found = [json.loads(line, parse_constant=_no_json) for line in text.splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in found]


def _no_json(word: str) -> None:
    raise AssertionError(f"{word} is not JSON")


def leaves(workdir: Path, step: int, item: str):
    """Restores one item of a checkpoint as it was saved."""
    with ocp.PyTreeCheckpointer() as reader:
        path = (workdir / "checkpoints" / str(step) / item).absolute()
        tree = reader.metadata(path).item_metadata.tree
        one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        args = ocp.checkpoint_utils.construct_restore_args(tree, jax.tree.map(lambda _: one, tree))
        return reader.restore(path, ocp.args.PyTreeRestore(restore_args=args))


def assert_same(a: Path, b: Path, steps=(10, 20)) -> None:
    """Requires equal states, pictures and scalars of two runs, bit for bit."""
    for step in steps:
        for item in ("state", "sampler"):
            assert same_bits(leaves(a, step, item), leaves(b, step, item)) == []
    pictures = [{p.name: p.read_bytes() for p in (x / "samples").glob("*.png")} for x in (a, b)]
    assert pictures[0] == pictures[1]
    assert lines(a) == lines(b)
