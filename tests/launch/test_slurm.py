"""A real Slurm cluster on this machine, and Open MPI: preempted, saved, started again, finished.

Run: pytest -m slow tests/launch/test_slurm.py, as root, with the Debian packages slurm-wlm, munge
and openmpi-bin.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from support import compiling

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parent / "slurm_cluster.sh"
STEPS = 200
RUN = [
    "debug",
    "model.name=support.dense_pair",
    f"train.steps={STEPS}",
    "log.every_steps=1",
    "sample.every_steps=0",
    "checkpoint.every_steps=1000",
    "checkpoint.statistics_batches=0",
]
LIMIT_SECONDS = 600  # a bound for busy machines; a quiet one needs one or two minutes


def _need(*programs):
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)}")
    if os.getuid() != 0:
        pytest.skip("needs root")


@pytest.fixture(scope="module")
def cluster():
    """Two virtual nodes; gives the environment in which Slurm's commands find them."""
    _need("slurmctld", "slurmd", "munged", "sbatch", "setpriv")
    # Not under pytest's own folder: munged runs as another user, who cannot enter it.
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        started = subprocess.run([SCRIPT, "start", folder], timeout=90, check=False)
        if started.returncode:
            log = Path(f"{folder}.log").read_text()
            pytest.skip(f"no cluster can be started here: {log[-800:]}")
        yield _environment() | {"SLURM_CONF": str(folder / "slurm.conf")}
    finally:
        subprocess.run([SCRIPT, "stop", folder], timeout=60, check=False)
        shutil.rmtree(folder, ignore_errors=True)
        Path(f"{folder}.log").unlink(missing_ok=True)


def _environment():
    more = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    return {**os.environ, **compiling.environment(), **more}


def _wait(what, describe):
    deadline = time.monotonic() + LIMIT_SECONDS
    while not (value := what()):
        assert time.monotonic() < deadline, describe()
        time.sleep(0.1)
    return value


def _steps(workdir):
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def _launch(environment, workdir, *options):
    command = [sys.executable, "-m", "sagan", "launch", "slurm", "--nodes", "2", *options]
    command += ["--workdir", str(workdir), *RUN]
    out = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    return re.findall(r"Submitted batch job (\d+)", out)[0]


def _job(environment, number):
    out = subprocess.run(
        ["scontrol", "show", "job", number], env=environment, capture_output=True, text=True
    ).stdout
    return dict(word.split("=", 1) for word in out.split() if "=" in word)


def _preempt_and_wait(environment, number, workdir):
    """Sends SIGTERM to all ranks once they train; gives the job's last state."""

    _wait(lambda: _steps(workdir) or _ended(environment, number), lambda: _log(workdir))
    assert not _ended(environment, number), _log(workdir)
    subprocess.run(["scancel", "--signal=TERM", number], env=environment, check=True, timeout=30)
    return _wait(lambda: _ended(environment, number), lambda: _log(workdir))


def _ended(environment, number):
    job = _job(environment, number)
    states = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
    return job if job.get("JobState") in states else None


def _log(workdir):
    return "".join(path.read_text() for path in (workdir / "launch").glob("train-*.log"))


def _saved_steps(log):
    return [int(step) for step in re.findall(r"saved step (\d+) of", log)]


def test_a_preempted_job_saves_requeues_resumes_and_finishes(cluster, tmp_path):
    workdir = tmp_path / "run"
    number = _launch(cluster, workdir)

    state = _preempt_and_wait(cluster, number, workdir)
    log = _log(workdir)

    assert (state["JobState"], state["ExitCode"], state["Restarts"]) == ("COMPLETED", "0:0", "1")
    first, second = _saved_steps(log)  # one line of each rank
    assert first == second and 0 < first < STEPS, log
    assert "launch: exit 42; requeue 1 of 50" in log
    assert f"from step {first}" in log
    assert _steps(workdir) == list(range(1, STEPS + 1))  # none twice, none lost
    assert (workdir / "checkpoints" / str(STEPS)).is_dir()


@pytest.mark.parametrize(
    "codes, options, state, code, restarts",
    [
        ([134, 0], [], "COMPLETED", "0:0", "1"),  # the watchdog, then done
        ([42, 42, 0], ["--max-restarts", "1"], "FAILED", "42:0", "1"),  # bounded
        ([3, 0], [], "FAILED", "3:0", "0"),  # diverged: the same would happen again
        (["hang", 0], [], "FAILED", "1:0", "0"),  # one rank crashed, the other had to be killed
    ],
)
def test_restarts_by_exit_code(cluster, tmp_path, codes, options, state, code, restarts):
    # In place of the trainer, a module of its name: what is tested is the script.
    (tmp_path / "sagan").mkdir()
    (tmp_path / "sagan" / "__init__.py").touch()
    (tmp_path / "sagan" / "__main__.py").write_text(
        "import os, time\n"
        f"code = {codes}[int(os.environ.get('SLURM_RESTART_COUNT', '0'))]\n"
        "if code == 'hang':\n"
        "    code = 1\n"
        "    time.sleep(60 * int(os.environ['SLURM_PROCID']))\n"
        "raise SystemExit(code)\n"
    )
    setup = f"cd {tmp_path}"  # `python -m` looks there first
    number = _launch(cluster, tmp_path / "run", "--setup", setup, *options)
    job = _wait(lambda: _ended(cluster, number), lambda: _log(tmp_path / "run"))
    got = (job["JobState"], job["ExitCode"], job["Restarts"])
    assert got == (state, code, restarts), _log(tmp_path / "run")


def test_open_mpi_finds_its_ranks_and_the_same_command_resumes(tmp_path):
    _need("mpirun")
    workdir = tmp_path / "run"
    command = ["mpirun", "--allow-run-as-root", "--bind-to", "none", "-np", "2"]
    command += [sys.executable, "-m", "sagan", "train", *RUN, "--workdir", str(workdir)]

    def start(log):
        return subprocess.Popen(
            command, env=_environment(), stdout=log, stderr=subprocess.STDOUT, cwd=tmp_path
        )

    with open(tmp_path / "log", "w+b") as log:

        def said():
            return (tmp_path / "log").read_text()

        job = start(log)
        try:
            _wait(lambda: _steps(workdir) or job.poll() is not None, said)
            ranks = _children(job.pid)
            assert len(ranks) == 2, said()
            os.kill(ranks[1], signal.SIGTERM)  # one rank hears it, all save
            assert job.wait(timeout=LIMIT_SECONDS) == 42, said()
            saved = set(_saved_steps(said()))
            assert len(saved) == 1, said()
            job = start(log)
            assert job.wait(timeout=LIMIT_SECONDS) == 0, said()
        finally:
            job.kill()
            job.wait()
        assert f"from step {saved.pop()}" in said()
    assert _steps(workdir) == list(range(1, STEPS + 1))


def _children(pid):
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in out.stdout.split()]
