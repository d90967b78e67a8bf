"""What the watchdog takes for a hang, and what not."""

import subprocess
import sys
import textwrap

import pytest

HEAD = """
    import ctypes, pathlib, sys, time
    from sagan import watchdog
    folder = pathlib.Path(sys.argv[1])
"""


def run(tmp_path, body):
    program = textwrap.dedent(HEAD) + textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("hang", ["time.sleep(60)", "ctypes.CDLL(None).sleep(60)"])
def test_a_hang_ends_with_stacks(tmp_path, hang):
    body = f"""
    def stuck():
        {hang}
    with watchdog.Watchdog(folder, 1, 7, 3, 4) as dog:
        dog.slow = False
        dog.beat(9)
        stuck()
    """
    done = run(tmp_path, body)
    assert done.returncode == 134
    for text in (done.stderr, (tmp_path / "hang.3.txt").read_text()):
        assert "process 3 of 4" in text and "the last was 9" in text and "in stuck" in text


def test_a_hang_that_holds_pythons_lock_ends_too(tmp_path):
    body = """
    watchdog._BACKSTOP_SECONDS = 1
    with watchdog.Watchdog(folder, 1, 0) as dog:
        dog.slow = False
        time.sleep(0.3)
        ctypes.PyDLL(None).sleep(60)
    """
    done = run(tmp_path, body)
    assert done.returncode == -14 and "Current thread" in done.stderr


def test_beats_slow_parts_and_zero_are_no_hang(tmp_path):
    body = """
    with watchdog.Watchdog(folder, 1, 0) as dog:
        time.sleep(2)  # compiling
        dog.slow = False
        for step in range(8):
            dog.beat(step)
            time.sleep(0.3)
        dog.slow = True
        dog.beat(8)
        time.sleep(2)
    with watchdog.Watchdog(folder, 0, 0) as dog:
        dog.slow = False
        time.sleep(2)
    """
    done = run(tmp_path, body)
    assert (done.returncode, done.stderr) == (0, "") and list(tmp_path.iterdir()) == []
