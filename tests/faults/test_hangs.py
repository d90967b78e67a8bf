"""Rows 10, 12, 13, 31: a loader that hangs, a full or read-only disk, a second trainer."""

import contextlib
import os
import shutil
import subprocess
import textwrap

import pytest
from support import processes, runs

from sagan.runs import checkpoint

pytestmark = pytest.mark.faults


def test_row_10_the_loader_sleeps_for_ever(environment, tmp_path):
    """10: loader sleeps forever: watchdog dumps stacks, names the rank, exits 134."""
    (tmp_path / "sleepy.py").write_text(
        textwrap.dedent(
            """
            import time
            from sagan.data.sources import synthetic

            class Sleepy(synthetic.Synthetic):
                count = 0
                def __getitem__(self, index):
                    self.count += 1
                    while self.count > 128 + 16 * 6:  # the sentinel has read 128
                        time.sleep(1)
                    return super().__getitem__(index)

            load = lambda config, image_size, argument: Sleepy(config.split, image_size)
            """
        )
    )
    path = f"{tmp_path}{os.pathsep}{environment.get('PYTHONPATH', '')}"
    words = runs.small(
        tmp_path / "run",
        *("data.name=sleepy", "data.resident_bytes=0", "data.workers=0"),
        "guard.watchdog_seconds=15",  # compiling may take four times as long
    )
    done = runs.finish(words, environment | {"PYTHONPATH": path}, status=134)
    text = (tmp_path / "run" / "hang.0.txt").read_text()
    for report in (text, done.stderr):  # the stack of the loader, and whose it is
        assert "process 0 of 1" in report and "sleepy.py" in report and "__getitem__" in report
    assert not (tmp_path / "run" / "hang.1.txt").exists()


@contextlib.contextmanager
def mounted(folder, options):
    """Mounts a small file system in memory."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mount is not permitted here (wanted: root)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_row_12_disk_full(straight, environment, tmp_path):
    """12: disk full (small tmpfs): error at that save; old steps intact; clear message."""
    one = sum(p.stat().st_blocks * 512 for p in (straight / "checkpoints" / "5").rglob("*"))
    with mounted(tmp_path / "small", f"size={int(one * 1.7)}") as folder:
        workdir = folder / "run"
        done = runs.finish(runs.small(workdir, "train.steps=400"), environment, status=1)
        last = done.stderr.splitlines()[-1]
        # What fails first is the save of step 10, or a line of scalars written beside it.
        assert str(workdir) in last and "bytes are free" in last
        assert checkpoint.steps(workdir) == [5] and checkpoint.damage(workdir, 5) == ""
        # The error ends the run soon after the failed save.
        assert runs.logged(workdir) < 200
        rescued = shutil.copytree(workdir, tmp_path / "rescued")
    runs.finish(runs.small(rescued), environment)
    runs.assert_same(straight, rescued, steps=[20])


def test_row_13_read_only(environment, tmp_path):
    """13: read-only work directory: fails before compiling."""
    with mounted(tmp_path / "closed", "size=1m,ro") as folder:
        done = runs.finish(runs.small(folder / "run"), environment, status=2)
    assert str(folder / "run") in done.stderr and len(done.stderr.splitlines()) == 1


def test_row_31_two_launches(environment, straight, tmp_path):
    """31: two launches on one work directory: the second refuses, naming host, process, age."""
    workdir = tmp_path / "run"
    forever = runs.small(workdir, "train.steps=1000000", "checkpoint.every_steps=1000000")
    first = processes.Process(forever, environment)
    try:
        runs.wait_until(lambda: runs.logged(workdir) > 0, first)
        done = runs.finish(forever, environment, status=4)
        assert f"process {first.pid}" in done.stderr and os.uname().nodename in done.stderr
        before = runs.logged(workdir)
        runs.wait_until(lambda: runs.logged(workdir) > before, first)
    finally:
        first.terminate()
        assert first.wait(runs.PATIENCE) == 42
    assert not (workdir / "train.lock").exists()
