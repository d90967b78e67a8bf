"""Who may train in a work directory whose holder lives, is gone, or is on another machine."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from sagan.runs import lock


def write(path, **changes):
    """Writes a lock of a process on another machine, which cannot be looked up."""
    owner = {"token": "other", "run": "theirs", "host": "far", "pid": 7, "place": "there"}
    path.write_text(json.dumps(owner | changes))


def test_it_is_there_while_held_and_gone_after(tmp_path):
    with lock.Lock(tmp_path, "mine", 60):
        owner = json.loads((tmp_path / lock.NAME).read_text())
        assert owner["pid"] == os.getpid() and owner["run"] == "mine" and owner["host"]
    assert list(tmp_path.iterdir()) == []


def test_a_living_holder_on_this_machine_is_named_at_once(tmp_path):
    start = time.monotonic()
    with lock.Lock(tmp_path, "mine", 600):
        os.utime(tmp_path / lock.NAME, (1, 1))  # whatever the clock says of its age
        with pytest.raises(lock.LockedError, match=rf"process {os.getpid()} \(run mine, lock ren"):
            with lock.Lock(tmp_path, "mine", 600):
                pass
        assert (tmp_path / lock.NAME).exists()
    assert time.monotonic() - start < 30


def test_a_dead_holder_on_this_machine_is_replaced_at_once(tmp_path, capsys):
    program = (
        "import os, pathlib, sys; from sagan.runs import lock\n"
        "lock.Lock(pathlib.Path(sys.argv[1]), 'theirs', 600).__enter__(); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == 9
    assert (tmp_path / lock.NAME).exists()
    start = time.monotonic()
    with lock.Lock(tmp_path, "mine", 600):
        assert json.loads((tmp_path / lock.NAME).read_text())["run"] == "mine"
    assert time.monotonic() - start < 30
    assert "took over" in capsys.readouterr().err


def test_another_process_of_the_same_number_is_not_the_holder(tmp_path, capsys):
    """In containers, for example, the trainer is always process 1."""
    write(tmp_path / lock.NAME, place=lock._place(), pid=os.getpid(), born=1)
    with lock.Lock(tmp_path, "mine", 600):
        pass
    assert "took over" in capsys.readouterr().err


def test_a_holder_elsewhere_that_renews_is_left_alone(tmp_path):
    path = tmp_path / lock.NAME
    write(path)
    os.utime(path, (1, 1))  # by this machine's clock, it is decades old
    done = threading.Event()

    def renew():
        while not done.wait(0.1):
            os.utime(path)

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        with pytest.raises(lock.LockedError, match="far.*7"):
            with lock.Lock(tmp_path, "mine", 120):
                pass
    finally:
        done.set()
        thread.join()
    assert json.loads(path.read_text())["token"] == "other"


@pytest.mark.parametrize("stamp", [1, 2**32])
def test_a_holder_elsewhere_that_stands_still_is_replaced(tmp_path, stamp, capsys):
    """This holds whichever way the clock jumped; a lock that looks old is watched more briefly."""
    write(tmp_path / lock.NAME)
    os.utime(tmp_path / lock.NAME, (stamp, stamp))
    start = time.monotonic()
    with lock.Lock(tmp_path, "mine", 2):
        waited = time.monotonic() - start
    assert waited >= (0.5 if stamp == 1 else 2)
    assert "host far, process 7" in capsys.readouterr().err


def test_it_is_renewed(tmp_path):
    with lock.Lock(tmp_path, "mine", 1):
        path = tmp_path / lock.NAME
        os.utime(path, (1, 1))
        deadline = time.monotonic() + 30
        while path.stat().st_mtime < 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_process_whose_directory_was_taken_over_ends(tmp_path):
    program = (
        "import pathlib, sys, time; from sagan.runs import lock\n"
        "with lock.Lock(pathlib.Path(sys.argv[1]), 'slow', 1): time.sleep(60)"
    )
    path = tmp_path / lock.NAME
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    write(path)
    _, text = process.communicate(timeout=30)
    assert process.returncode == 4 and "host far, process 7" in text
    assert json.loads(path.read_text())["token"] == "other"


def test_it_is_released_when_the_process_ends_itself(tmp_path):
    program = (
        "import pathlib, sys; from sagan.parallel import processes; from sagan.runs import lock\n"
        "lock.Lock(pathlib.Path(sys.argv[1]), 'mine', 600).__enter__(); processes.exit_now(42)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(tmp_path)]).returncode == 42
    assert list(tmp_path.iterdir()) == []
