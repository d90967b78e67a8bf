"""One finished run, made once, that tests copy and then harm."""

import shutil
from pathlib import Path

import pytest
import runs


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """What processes run under: their compiled programs are kept for the session."""
    return runs.environment(tmp_path_factory.getbasetemp() / "faults-cache")


@pytest.fixture(scope="session")
def straight(tmp_path_factory, environment) -> Path:
    """A run of 20 steps with checkpoints at 5, 10, 15, 20 that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("faults") / "straight"
    runs.finish(runs.small(workdir), environment)
    return workdir


@pytest.fixture
def workdir(straight, tmp_path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(straight, tmp_path / "run"))
