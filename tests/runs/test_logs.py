"""Scalars that cannot be written."""

import contextlib
import json
import resource

import pytest

from sagan.runs.logs import LogError, RunLog

# TensorBoard's writer has a thread of its own, which fails as well.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@contextlib.contextmanager
def largest_file(number_of_bytes):
    """Makes every write beyond this size of a file fail, as it would on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (number_of_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(scalars):
    for step in range(2, 100):
        scalars.write(step, {"loss/d": 1.0})


def test_a_full_disk_is_named_with_the_folder(tmp_path):
    with largest_file(1000), pytest.raises(LogError) as caught, RunLog(tmp_path, 0) as scalars:
        scalars.write(1, {"loss/d": 1.0})
        fill(scalars)
    assert str(tmp_path) in str(caught.value) and caught.value.exit_code == 1
    first = (tmp_path / "metrics.jsonl").read_text().splitlines()[0]
    assert json.loads(first) == {"step": 1, "loss/d": 1.0}


def test_closing_does_not_hide_what_ended_the_block(tmp_path):
    with largest_file(1000), pytest.raises(ZeroDivisionError), RunLog(tmp_path, 0) as scalars:
        try:
            fill(scalars)
        except LogError:
            pass
        raise ZeroDivisionError
