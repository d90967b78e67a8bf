"""A finished run, made once, which tests copy and damage."""

import shutil
import sys
from pathlib import Path

import pytest
from support import processes, runs


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """The environment of processes; their compiled programs are kept for the session."""
    return runs.environment(tmp_path_factory.getbasetemp() / "faults-cache")


@pytest.fixture(scope="session")
def straight(tmp_path_factory, environment) -> Path:
    """An uninterrupted run of 20 steps, with checkpoints at 5, 10, 15 and 20."""
    workdir = tmp_path_factory.mktemp("faults") / "straight"
    runs.finish(runs.small(workdir), environment)
    return workdir


@pytest.fixture
def workdir(straight, tmp_path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(straight, tmp_path / "run"))


@pytest.fixture
def held(environment, tmp_path):
    """Starts a command that stops at a place for some seconds; returns once it is there."""
    started = []

    def start(place, words, seconds):
        flag = tmp_path / f"{place}-{len(started)}"
        blocked = [sys.executable, str(Path(__file__).parents[1] / "support" / "blocked.py")]
        words = [*blocked, place, str(flag), str(seconds), *words[3:]]
        process = processes.Process(words, environment)
        started.append(process)
        runs.wait_until(flag.exists, process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
