"""Scalars that cannot be written, and those that a killed run left behind."""

import contextlib
import json
import resource

import pytest

from sagan.runs.logs import LogError, RunLog


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


def test_a_last_line_without_its_end_is_kept_whole_by_a_resume(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss/d": 1.0}\n{"step": 2, "loss/d": 0.5}')
    with RunLog(tmp_path, 2) as log:
        log.write(3, {"loss/d": 0.25})
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == [1, 2, 3]
