"""What the first process tells the others, and ending a process at once."""

import json
import math
import os
import socket
import subprocess
import sys
import time

import pytest
from support import processes as started

from sagan.parallel import processes

VALUE = {"step": 0.1 + 0.2, "lost": None, "sizes": [1, [2.5e-300]], "ready": True, "inf": math.inf}


def run_python(code):
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_one_process_gets_what_many_would():
    assert processes.broadcast_from_main(lambda: VALUE) == VALUE
    assert processes.broadcast_from_main(lambda: (1, 2)) == [1, 2]
    with pytest.raises(TypeError):
        processes.broadcast_from_main(lambda: {1, 2})


def test_all_processes_get_the_values_of_the_first_in_order():
    code = (
        "import jax, json\n"
        "from sagan.parallel import joining, processes\n"
        "joining.initialize()\n"
        f"first = processes.broadcast_from_main(lambda: json.loads({json.dumps(VALUE)!r}))\n"
        "second = processes.broadcast_from_main(lambda: jax.process_index())\n"
        "print('values', json.dumps([first, second]), flush=True)\n"
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    jobs = [started.job(address, 2, i) | {"SAGAN_INIT_TIMEOUT": "60"} for i in range(2)]
    command = [sys.executable, "-c", code]
    running = [started.Process(command, {**os.environ, **job}) for job in jobs]
    ended = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], ended
    for out, _ in ended:  # Gloo writes lines of its own, before and after
        (line,) = [line for line in out.splitlines() if line.startswith("values ")]
        assert json.loads(line.removeprefix("values ")) == [VALUE, 0]


def test_exit_now_runs_its_callbacks_and_ends_children_but_waits_for_no_callback_that_hangs():
    code = (
        "import multiprocessing, threading, time\n"
        "from sagan.parallel import processes\n"
        "child = multiprocessing.get_context('fork').Process(target=time.sleep, args=(600,))\n"
        "child.start()\n"
        "processes.on_exit_now(lambda: print('released', child.pid, flush=True))\n"
        "processes.on_exit_now(lambda: print('unregistered', flush=True))()\n"
        "processes.on_exit_now(lambda: time.sleep(600))\n"
        "threading.Thread(target=processes.exit_now, args=(42,)).start()\n"
        "time.sleep(600)\n"
    )
    process = run_python(code)
    out, err = process.communicate(timeout=60)  # also ends only when the child has let go of it
    assert process.returncode == 42, err
    name, child = out.split()
    assert name == "released"
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(int(child), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    with open(f"/proc/{child}/stat") as status:  # nobody may be there to collect it
        assert status.read().rpartition(")")[2].split()[0] == "Z"
