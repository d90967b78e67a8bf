"""Two CPU devices, fast compiles, strict shapes: for every test."""

import os
import signal
from pathlib import Path

from support.compiling import compile_quickly

compile_quickly(devices=2)

import jax  # noqa: E402
import pytest  # noqa: E402

from sagan.cli import process  # noqa: E402

process.collect_rarely()

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_collection_modifyitems(items):
    """Starts with the files that take minutes, so that no process is left with one at the end."""
    items.sort(key=lambda item: not any(map(item.get_closest_marker, ("faults", "slow"))))


@pytest.fixture(scope="session", autouse=True)
def _can_be_interrupted():
    """Restores SIGINT, for the tests of signals and for the processes that tests start.

    It is ignored in jobs that a script starts in the background, and in what they start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keeps what tests cache out of the user's cache folder."""
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def test_data() -> Path:
    """The folder of optional real data."""
    folder = os.environ.get("SAGAN_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SAGAN_TEST_DATA names no folder of real data")
    return Path(folder)
