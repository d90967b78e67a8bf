"""The local launcher with real processes: ranks, signals, exit codes, restarts."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from sagan.launch.local import Process, Supervision, free_port, supervise

FAST = Supervision(grace_seconds=5.0)


def python(text):
    return [sys.executable, "-S", "-c", textwrap.dedent(text)]


def ranks(*texts):
    return [Process(str(i), python(text), {"RANK": str(i)}) for i, text in enumerate(texts)]


SLEEP = "import time; time.sleep(60)"


@pytest.mark.parametrize(
    "codes, status", [((0, 0), 0), ((3, 3), 3), ((0, 4), 4), ((42, 42), 42), ((0, 0, 0), 0)]
)
def test_status_is_the_ranks(codes, status):
    assert supervise(ranks(*(f"raise SystemExit({code})" for code in codes)), how=FAST) == status


def test_a_signals_status_is_128_and_more():
    assert (
        supervise(
            ranks("import os; os.kill(os.getpid(), 9)", SLEEP), how=FAST._replace(grace_seconds=0.2)
        )
        == 137
    )


def test_lines_carry_their_rank(capfd):
    assert supervise(ranks("print('a')", "import sys; print('b', file=sys.stderr)"), how=FAST) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == ["[0] a", "[1] b"]


def test_one_failure_ends_all_and_gives_its_status():
    start = time.monotonic()
    assert supervise(ranks(SLEEP, "raise SystemExit(5)", SLEEP), how=FAST) == 5
    assert time.monotonic() - start < 4  # not the 60 s of the others


def test_a_rank_deaf_to_sigterm_is_killed(tmp_path):
    ready = tmp_path / "ready"
    deaf = f"""
        import signal, time, pathlib
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path({str(ready)!r}).touch()
        time.sleep(60)
    """
    failing = f"""
        import os, time
        while not os.path.exists({str(ready)!r}): time.sleep(0.01)
        raise SystemExit(1)
    """
    start = time.monotonic()
    assert supervise(ranks(deaf, failing), how=Supervision(grace_seconds=0.3)) == 1
    assert time.monotonic() - start < 5


def test_the_first_to_exit_42_leaves_the_others_time_to_save(tmp_path):
    saved = tmp_path / "saved"
    slow = f"""
        import time, pathlib
        time.sleep(0.7)
        pathlib.Path({str(saved)!r}).touch()
        raise SystemExit(42)
    """
    assert supervise(ranks("raise SystemExit(42)", slow), how=FAST) == 42
    assert saved.exists()


def test_children_of_a_killed_rank_do_not_outlive_the_job(tmp_path):
    pid_file = tmp_path / "pid"
    parent = f"""
        import subprocess, pathlib, os
        child = subprocess.Popen(["sleep", "60"])
        pathlib.Path({str(pid_file)!r}).write_text(str(child.pid))
        os.kill(os.getpid(), 9)
    """
    assert supervise(ranks(parent), how=FAST) == 137
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(pid)


def _alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _counting(tmp_path, codes):
    """A rank that exits with the next of `codes` at each start."""
    log = tmp_path / "starts"
    return (
        log,
        f"""
        import os, pathlib
        log = pathlib.Path({str(log)!r})
        done = log.read_text().split() if log.exists() else []
        log.write_text(" ".join([*done, os.environ.get("SAGAN_COORDINATOR", "-")]))
        raise SystemExit({list(codes)!r}[len(done)])
        """,
    )


@pytest.mark.parametrize(
    "codes, restarts, status, starts",
    [
        ([42, 134, 0], 5, 0, 3),  # preempted, then the watchdog, then done
        ([42, 42, 42, 0], 2, 42, 3),  # bounded
        ([42, 0], 0, 42, 1),  # only if asked
        ([3, 0], 5, 3, 1),  # would diverge again
        ([1, 0], 5, 1, 1),
        ([2, 0], 5, 2, 1),
        ([4, 0], 5, 4, 1),
        ([127, 255, 0], 5, 0, 3),
        ([126, 0], 5, 126, 1),
    ],
)
def test_restarts(tmp_path, codes, restarts, status, starts):
    log, text = _counting(tmp_path, codes)
    how = FAST._replace(max_restarts=restarts)
    assert supervise(ranks(text), how=how) == status
    assert len(log.read_text().split()) == starts


def test_a_restart_moves_to_another_port(tmp_path):
    log, text = _counting(tmp_path, [42, 0])
    counting, other = ranks(text, "pass")
    counting = counting._replace(environment={"SAGAN_COORDINATOR": f"127.0.0.1:{free_port()}"})
    assert supervise([counting, other], how=FAST._replace(max_restarts=1), new_port=True) == 0
    first, second = log.read_text().split()
    assert first != second and second.startswith("127.0.0.1:")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_rank_once_and_nothing_restarts(tmp_path, number):
    rank = f"""
        import os, pathlib, signal, sys, time
        heard = []
        def hear(number, frame): heard.append(number)
        signal.signal(signal.SIGTERM, hear); signal.signal(signal.SIGINT, hear)
        folder = pathlib.Path({str(tmp_path)!r})
        (folder / ("up" + os.environ["RANK"])).touch()
        while not heard: time.sleep(0.01)
        time.sleep(0.3)  # a second one would come in here
        (folder / ("heard" + os.environ["RANK"])).write_text(repr([int(n) for n in heard]))
        sys.exit(42)
    """
    code = f"""
        import sys
        from sagan.launch.local import Process, Supervision, supervise
        command = [sys.executable, "-S", "-c", {textwrap.dedent(rank)!r}]
        ranks = [Process(str(i), command, {{"RANK": str(i)}}) for i in range(2)]
        sys.exit(supervise(ranks, how=Supervision(10.0, 5)))
    """
    launcher = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)])
    try:
        _wait_for(tmp_path / "up0", tmp_path / "up1")
        launcher.send_signal(number)
        assert launcher.wait(timeout=20) == 42
    finally:
        launcher.kill()
        launcher.wait()
    for i in range(2):
        assert json.loads((tmp_path / f"heard{i}").read_text()) == [int(number)]


def _wait_for(*paths):
    deadline = time.monotonic() + 20
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_evaluator_neither_fails_nor_prolongs_a_job(tmp_path):
    failing = Process("eval", python("raise SystemExit(1)"), {})
    assert supervise(ranks("import time; time.sleep(0.5)"), [failing], FAST) == 0
    start = time.monotonic()
    endless = Process("eval", python(SLEEP), {})
    assert supervise(ranks("pass"), [endless], Supervision(grace_seconds=0.5)) == 0
    assert time.monotonic() - start < 5


def test_an_evaluator_may_finish_the_last_step(tmp_path):
    scored = tmp_path / "scored"
    text = f"import time, pathlib; time.sleep(0.7); pathlib.Path({str(scored)!r}).touch()"
    assert supervise(ranks("pass"), [Process("eval", python(text), {})], FAST) == 0
    assert scored.exists()


def test_ranks_see_the_environment_of_the_launcher(monkeypatch):
    monkeypatch.setenv("SOME_SETTING", "kept")
    check = "import os; raise SystemExit(os.environ['SOME_SETTING'] != 'kept')"
    assert supervise(ranks(check), how=FAST) == 0
    assert "RANK" not in os.environ
