"""Rows 1, 2, 6 to 8, 11: a single process is killed, asked to stop, or interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import processes, runs
from tools import kill_many

from sagan.runs import checkpoint

pytestmark = pytest.mark.faults
HERE = Path(__file__).parent


def end(process, status):
    """Waits for the end, requires this exit status, and returns what was written to stderr."""
    _, text = process.communicate(timeout=runs.PATIENCE)
    assert process.returncode == status, text[-3000:]
    return text


def test_row_1_killed_mid_step(held, straight, environment, tmp_path):
    """1: kill -9 mid-step: the same command resumes from the last commit; equal bit for bit."""
    workdir = tmp_path / "run"
    process = held("step", runs.small(workdir), 600)
    runs.wait_until(lambda: checkpoint.steps(workdir) == [5])
    process.kill()
    end(process, -signal.SIGKILL)
    assert (workdir / "train.lock").exists()  # a dead holder's lock does not hinder the next start
    done = runs.finish(runs.small(workdir), environment)
    assert "from step 5" in done.stderr
    runs.assert_same(straight, workdir)


def test_row_1_killed_at_random_moments(environment, tmp_path):
    """1, 2: kill -9 anywhere; the long form is `python tests/tools/kill_many.py --count 100`."""

    def command(workdir, *words):
        return runs.small(workdir, *words, "checkpoint.every_steps=6")

    found = kill_many.kill_many(2, 1, tmp_path, environment, command)
    assert found["compared"] >= 1


def test_row_2_killed_mid_save(held, straight, environment, tmp_path):
    """2: kill -9 mid-save: previous step restored, temporary directory removed."""
    workdir = tmp_path / "run"
    process = held("save", runs.small(workdir), 600)
    process.kill()
    end(process, -signal.SIGKILL)
    assert checkpoint.steps(workdir) == [5]
    assert list((workdir / "checkpoints").glob("10.*"))
    done = runs.finish(runs.small(workdir), environment)
    assert "from step 5" in done.stderr
    assert sorted(p.name for p in (workdir / "checkpoints").iterdir()) == ["10", "15", "20", "5"]
    runs.assert_same(straight, workdir)


def test_row_6_sigterm_while_compiling(held, tmp_path):
    """6: SIGTERM during compile: honoured within the grace period, here at once."""
    workdir = tmp_path / "run"
    process = held("compile", runs.small(workdir), 600)
    process.terminate()
    end(process, 42)
    assert checkpoint.steps(workdir) == [] and not (workdir / "train.lock").exists()


def test_row_6_sigterm_while_evaluating(held, straight, environment, tmp_path):
    """6: SIGTERM during eval, FID: honoured within the grace period; the score is made later."""
    workdir = tmp_path / "run"
    words = ["eval.every_steps=10", "eval.num_images=64"]
    process = held("evaluation", runs.small(workdir, *words), 600)
    process.terminate()
    end(process, 42)
    assert checkpoint.steps(workdir) == [5, 10] and not (workdir / "train.lock").exists()
    runs.finish(runs.small(workdir, *words), environment)
    assert sorted(p.name for p in (workdir / "eval").glob("*.json")) == ["10.json", "20.json"]
    runs.assert_same(straight, workdir)


@pytest.mark.parametrize("place", ["sample", "save"])
def test_row_6_sigterm_while_sampling_or_saving(held, tmp_path, place):
    """6: SIGTERM during sampling and saving: that save, whole, and 42."""
    workdir = tmp_path / "run"
    process = held(place, runs.small(workdir, "sample.every_steps=10"), 2)
    process.terminate()
    end(process, 42)
    there = checkpoint.steps(workdir)
    assert there[-1] >= 10 and checkpoint.damage(workdir, there[-1]) == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row_7_a_second_signal(held, tmp_path, number):
    """7: second SIGTERM or Ctrl-C: immediate clean exit, nothing corrupted."""
    workdir = tmp_path / "run"
    process = held("step", runs.small(workdir), 600)
    process.send_signal(number)
    runs.wait_until(lambda: "saving" in process.stderr, process)
    assert process.poll() is None  # it is held between steps, so the first signal has no effect yet
    time.sleep(1.1)
    process.send_signal(number)
    end(process, 128 + number)
    assert not (workdir / "train.lock").exists()
    assert checkpoint.steps(workdir) == [5] and checkpoint.damage(workdir, 5) == ""


def test_row_7_a_sigterm_heard_twice_is_one(tmp_path):
    """7: a SIGTERM to a process group, and passed on, counts once; a later one is a second."""
    program = (
        "import time\nfrom sagan.training.phase import Activity, Phase\n"
        "from sagan.training.stop import StopRequest\n"
        "with StopRequest(Activity(Phase.STEPPING)):\n    print(flush=True)\n    time.sleep(60)"
    )
    process = processes.Process([sys.executable, "-c", program])
    runs.wait_until(lambda: process.stdout, process)
    process.terminate()
    runs.wait_until(lambda: "SIGTERM" in process.stderr, process)
    process.terminate()
    time.sleep(1.5)
    assert process.poll() is None
    process.terminate()
    end(process, 128 + signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row_8_asked_to_stop(held, straight, environment, tmp_path, number):
    """8: SIGTERM or Ctrl-C: saves, 42; the resumed run equals an uninterrupted one."""
    workdir = tmp_path / "run"
    process = held("step", runs.small(workdir), 4)
    process.send_signal(number)
    assert "step 8" in end(process, 42)
    assert checkpoint.steps(workdir) == [5, 8]
    done = runs.finish(runs.small(workdir), environment)
    assert "from step 8" in done.stderr
    runs.assert_same(straight, workdir)


def test_row_8_ctrl_c_reaches_loader_processes(environment, tmp_path):
    """8: a terminal sends Ctrl-C to all processes; those that read images go on until the save."""
    workdir = tmp_path / "run"
    words = runs.small(workdir, "train.steps=100000", "data.resident_bytes=0", "data.workers=1")
    environment = environment | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # no restart
    process = subprocess.Popen(
        words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        runs.wait_until(lambda: runs.logged(workdir) >= 3, process)
        os.killpg(process.pid, signal.SIGINT)
        text = end(process, 42)
        assert "saved step" in text and "KeyboardInterrupt" not in text
    finally:
        process.kill()
        process.wait()
    assert len(checkpoint.steps(workdir)) >= 1


def test_row_11_through_the_entry_script(environment, tmp_path):
    """11: TERM through the real entry script: reaches Python."""
    workdir = tmp_path / "run"
    entry = HERE.parent.parent / "launch" / "entry.sh"
    words = runs.small(workdir, "train.steps=1000000", "checkpoint.every_steps=1000000")
    process = subprocess.Popen(
        ["sh", str(entry), *words[3:]],
        env=environment | {"SAGAN_PYTHON": sys.executable},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        runs.wait_until(lambda: runs.logged(workdir) >= 3, process)
        process.terminate()
        end(process, 42)
    finally:
        process.kill()
    assert len(checkpoint.steps(workdir)) == 1
