"""The number of devices and the form do not change the numbers; only all-reduces are used."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from support import compiling, processes
from support.closeness import differing

RUN = Path(__file__).parents[1] / "support" / "parallel_run.py"
STEPS = 20
SEEDS = 3
MANY = ["shard_map:8", "pmap:8"]


def play(folder, model, *arrangements, seeds, quick):
    environment = {**os.environ, **compiling.environment(8), "PYTHONPATH": str(RUN.parent.parent)}
    if not quick:
        environment["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"
    command = [sys.executable, str(RUN), str(folder), str(STEPS), str(seeds), model, *arrangements]
    done = processes.run(command, environment, timeout=3000)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    folder, arrangements = tmp_path_factory.mktemp("played"), ["shard_map:1", *MANY]
    return play(folder, "sagan", *arrangements, seeds=SEEDS, quick=True)


def read(folder, name, seed=0):
    with np.load(folder / f"{name}-{seed}.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.mark.parametrize("name", [arrangement.replace(":", "-") for arrangement in MANY])
def test_losses_and_parameters_equal_one_devices(played, name):
    differ = {}
    for seed in range(SEEDS):
        one, many = read(played, "shard_map-1", seed), read(played, name, seed)
        assert len(one["scalar loss/d"]) == STEPS
        differ[seed] = differing(one, many)
    # Rarely, rounding changes the sign of a ReLU's input, and the runs differ by 1e-4. A real error
    # would show with every seed.
    assert sum(not keys for keys in differ.values()) >= SEEDS - 1, differ


def test_another_seed_gives_another_run(played):
    assert differing(read(played, "shard_map-1", 0), read(played, "shard_map-1", 1))


def test_devices_divide_the_work_and_only_all_reduce(played):
    about = {
        name: json.loads((played / f"{name}.json").read_text())
        for name in ("shard_map-1", "shard_map-8", "pmap-8")
    }
    alone = about["shard_map-1"]["flops"]
    for name, found in about.items():
        assert found["flops"] < 1.1 * alone / int(name[-1]), name
        assert found["collectives"] == ["all-reduce"], name


def test_pmap_and_shard_map_end_in_the_same_bits(tmp_path):
    # As compiled for users, which takes long: for a discriminator that is small.
    play(tmp_path, "support.half_sagan", "shard_map:2", "pmap:2", seeds=1, quick=False)
    a, b = read(tmp_path, "shard_map-2"), read(tmp_path, "pmap-2")
    assert a.keys() == b.keys()
    assert [key for key in a if a[key].tobytes() != b[key].tobytes()] == []


def test_quick_forms_end_in_the_same_bits(played):
    for seed in range(SEEDS):
        a, b = read(played, "shard_map-8", seed), read(played, "pmap-8", seed)
        assert [key for key in a if a[key].tobytes() != b[key].tobytes()] == []
