"""Rows 34, 35: an evaluator watches a run that deletes checkpoints, or dies."""

import shutil
import sys
import time

import pytest
from support import processes, runs

from sagan.runs import checkpoint

pytestmark = pytest.mark.faults


def scored(workdir):
    return sorted(int(path.stem) for path in (workdir / "eval").glob("*.json"))


def watch(workdir, *words):
    return [
        *(sys.executable, "-m", "sagan", "eval", str(workdir), "--watch"),
        *("--num-images", "64", *words),
    ]


def test_row_34_a_step_is_pruned_under_the_evaluator(workdir, environment, held):
    """34: evaluator meets a pruned step: skips, continues; missed evaluations filled in."""
    process = held("load", watch(workdir), 2)
    shutil.rmtree(
        workdir / "checkpoints" / "5"
    )  # as a trainer does that keeps the newest ones only
    _, text = process.communicate(timeout=runs.PATIENCE)
    assert process.returncode == 0, text[-3000:]
    assert "step 5" in text
    assert scored(workdir) == [10, 15, 20]


def test_row_35_the_trainer_dies(environment, held, tmp_path):
    """35: trainer dies: evaluator finishes the last step, exits after its timeout."""
    workdir = tmp_path / "run"
    trainer = held("step", runs.small(workdir), 600)
    runs.wait_until(lambda: checkpoint.steps(workdir) == [5], trainer)
    words = watch(workdir, "--watch-timeout", "3")
    evaluator = processes.Process(words, environment)
    trainer.kill()
    _, text = evaluator.communicate(timeout=runs.PATIENCE)
    end = time.time()
    assert evaluator.returncode == 0, text[-3000:]
    assert scored(workdir) == [5]
    assert end - (workdir / "eval" / "5.json").stat().st_mtime >= 3
