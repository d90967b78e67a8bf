"""What the watchdog takes for a hang, and what not."""

import sys
import textwrap

import pytest
from support import processes

HEAD = """
    import ctypes, pathlib, sys, time
    from sagan.training.phase import Activity, Phase
    from sagan.training.watchdog import Watchdog
    folder = pathlib.Path(sys.argv[1])
    activity = Activity(Phase.STEPPING)
"""


def run(tmp_path, body):
    program = textwrap.dedent(HEAD) + textwrap.dedent(body)
    return processes.run([sys.executable, "-c", program, str(tmp_path)], timeout=120)


@pytest.mark.parametrize("hang", ["time.sleep(60)", "ctypes.CDLL(None).sleep(60)"])
def test_a_hang_ends_with_stacks(tmp_path, hang):
    body = f"""
    def stuck():
        {hang}
    with Watchdog(folder, 1, 7, activity, 3, 4) as dog:
        dog.beat(9)
        stuck()
    """
    done = run(tmp_path, body)
    assert done.returncode == 134
    for text in (done.stderr, (tmp_path / "hang.3.txt").read_text()):
        for fact in ("process 3 of 4", " 9 steps", "'step'", "in stuck"):
            assert fact in text


def test_a_hang_that_holds_pythons_lock_ends_too(tmp_path):
    body = """
    with Watchdog(folder, 2, 0, activity, backstop_seconds=1):
        time.sleep(0.3)
        ctypes.PyDLL(None).sleep(60)
    """
    done = run(tmp_path, body)
    assert done.returncode == -14 and "Current thread" in done.stderr


def test_beats_slow_phases_and_zero_are_no_hang(tmp_path):
    body = """
    activity.switch(Phase.COMPILING)
    with Watchdog(folder, 1, 0, activity) as dog:
        time.sleep(2)
        activity.switch(Phase.STEPPING)
        for step in range(8):
            dog.beat(step)
            time.sleep(0.3)
        activity.switch(Phase.SAVING)
        time.sleep(2)
    activity.switch(Phase.STEPPING)
    with Watchdog(folder, 0, 0, activity) as dog:
        time.sleep(2)
    """
    done = run(tmp_path, body)
    assert (done.returncode, done.stderr) == (0, "") and list(tmp_path.iterdir()) == []
