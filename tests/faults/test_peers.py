"""Rows 3, 4, 5, 9: one process of several is killed, stopped, or asked to stop.

All tests continue one run, so that each start also tests resuming after the fault before it.
"""

import re
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from support import processes, runs

from sagan.launch.local import free_port
from sagan.runs import checkpoint

pytestmark = pytest.mark.faults
ROW_SECONDS = 30


class Ended(NamedTuple):
    status: int  # as in a shell: 128 + the number of a signal
    seconds: float
    text: str


class Job:
    """The processes of one run, started without a launcher."""

    def __init__(self, workdir, environment, count, late=None):
        self.workdir, address = workdir, f"127.0.0.1:{free_port()}"
        self.before = checkpoint.steps(workdir)
        words = runs.small(
            workdir, "train.steps=1000000", "checkpoint.keep=2", "train.batch_size=12"
        )
        blocked = [sys.executable, str(Path(__file__).parents[1] / "support" / "blocked.py")]
        self.late = workdir.parent / "late"
        held = [*blocked, "before saving", str(self.late), "600", *words[3:]]
        self.processes = [
            processes.Process(
                held if number == late else words,
                environment | processes.job(address, count, number),
            )
            for number in range(count)
        ]

    def wait_for_a_checkpoint(self):
        newest = self.before[-1] if self.before else 0
        runs.wait_until(
            lambda: max(checkpoint.steps(self.workdir), default=0) > newest, *self.processes
        )

    def ends(self, *numbers):
        """Waits until these processes end; returns how, with seconds from now."""
        start, ended = time.monotonic(), {}
        while len(ended) < len(numbers):
            assert time.monotonic() - start < runs.PATIENCE
            for number in set(numbers) - ended.keys():
                process = self.processes[number]
                if process.poll() is not None:
                    seconds, (_, text) = time.monotonic() - start, process.communicate()
                    status = process.returncode
                    ended[number] = Ended(status if status >= 0 else 128 - status, seconds, text)
            time.sleep(0.05)
        return [ended[number] for number in numbers]

    def kill(self):
        for process in self.processes:
            if process.returncode is None:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return tmp_path_factory.mktemp("peers") / "run"


@pytest.fixture
def start(workdir, environment):
    """Starts the processes; returns them once they have saved a new checkpoint.

    If there are checkpoints of an earlier job, they must resume from the last of them.
    """
    started = []

    def start(count):
        started.append(job := Job(workdir, environment, count))
        job.wait_for_a_checkpoint()
        if job.before:
            said = f"resuming {workdir} from step {job.before[-1]}"
            assert said in job.processes[0].stderr
        return job

    yield start
    for job in started:
        job.kill()


def assert_others_end(job, victim, number):
    job.processes[victim].send_signal(number)
    others = [i for i in range(len(job.processes)) if i != victim]
    for ended in job.ends(*others):
        assert ended.status >= 128, ended.text[-3000:]
        assert ended.seconds < ROW_SECONDS
    whole = checkpoint.steps(job.workdir)
    assert whole and checkpoint.damage(job.workdir, whole[-1]) == ""


def test_row_3_a_worker_is_killed(start):
    """3: kill -9 of a worker: others exit >= 128 within 30 s; the next test's start resumes."""
    assert_others_end(start(3), 1, signal.SIGKILL)


def test_row_3_a_worker_is_killed_while_others_wait_for_it_to_save(environment, tmp_path):
    """3: the same if they notice it in a collective of Orbax, not reported as a disk error."""
    job = Job(tmp_path / "run", environment, 2, late=1)
    try:
        runs.wait_until(job.late.exists, *job.processes)
        # Once it logs no more, the first process waits in Orbax's barrier.
        seen = 0
        while seen != (seen := runs.logged(job.workdir)):
            time.sleep(2)
        assert_others_end(job, 1, signal.SIGKILL)
    finally:
        job.kill()


def test_row_4_the_coordinator_is_killed(start):
    """4: kill -9 of the coordinator: others exit >= 128 within 30 s; the next start resumes."""
    assert_others_end(start(2), 0, signal.SIGKILL)


def test_row_9_a_process_is_stopped(start):
    """9: SIGSTOP of a rank: peers abort."""
    assert_others_end(start(2), 1, signal.SIGSTOP)


def test_row_5_sigterm_to_one(start):
    """5: SIGTERM to one rank: same-step save on all, exit 42."""
    job = start(2)
    job.processes[-1].terminate()
    ends = job.ends(*range(len(job.processes)))
    assert [ended.status for ended in ends] == [42] * len(ends), [e.text[-2000:] for e in ends]
    said = {re.search(r"saved step (\d+) of", ended.text)[1] for ended in ends}
    assert len(said) == 1
    newest = checkpoint.steps(job.workdir)[-1]
    assert newest == int(said.pop()) and checkpoint.damage(job.workdir, newest) == ""
