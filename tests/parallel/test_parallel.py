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
    folder = tmp_path_factory.mktemp("played")
    return play(folder, "sagan", "shard_map:1", "shard_map:8", seeds=SEEDS, quick=True)


def read(folder, name, seed=0):
    with np.load(folder / f"{name}-{seed}.npz", allow_pickle=False) as file:
        return dict(file)


def test_losses_and_parameters_equal_one_devices(played):
    differ = {}
    for seed in range(SEEDS):
        one, many = read(played, "shard_map-1", seed), read(played, "shard_map-8", seed)
        assert len(one["scalar loss/d"]) == STEPS
        differ[seed] = differing(one, many)
    # Rarely, rounding changes the sign of a ReLU's input, and the runs differ by 1e-4. A real error
    # would show with every seed.
    assert sum(not keys for keys in differ.values()) >= SEEDS - 1, differ


def about(folder, name):
    return json.loads((folder / f"{name}.json").read_text())


def test_another_seed_gives_another_run(played):
    assert differing(read(played, "shard_map-1", 0), read(played, "shard_map-1", 1))


def test_devices_divide_the_work_and_only_all_reduce(played):
    one, eight = about(played, "shard_map-1"), about(played, "shard_map-8")
    assert eight["flops"] < 1.1 * one["flops"] / 8
    assert one["collectives"] == eight["collectives"] == ["all-reduce"]


def test_pmap_and_shard_map_end_in_the_same_bits(tmp_path):
    # As compiled for users, which takes long: for a discriminator that is small.
    play(tmp_path, "support.half_sagan", "shard_map:8", "pmap:8", seeds=1, quick=False)
    a, b = read(tmp_path, "shard_map-8"), read(tmp_path, "pmap-8")
    assert a.keys() == b.keys()
    assert [key for key in a if a[key].tobytes() != b[key].tobytes()] == []
    assert about(tmp_path, "pmap-8")["collectives"] == ["all-reduce"]
