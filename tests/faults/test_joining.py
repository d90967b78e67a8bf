"""Rows 28-30: processes that do not find each other end in time, and name who or where."""

import os
import socket
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.faults
WAIT_SECONDS = 12
LIMIT_SECONDS = 180  # generous, for a busy machine


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _start(tmp_path, address, count, number):
    environment = {
        **os.environ,
        "SAGAN_COORDINATOR": address,
        "SAGAN_NUM_PROCESSES": str(count),
        "SAGAN_PROCESS_ID": str(number),
        "SAGAN_INIT_TIMEOUT": str(WAIT_SECONDS),
        "JAX_PLATFORMS": "cpu",
    }
    command = [sys.executable, "-m", "sagan", "train", "debug", "--workdir", str(tmp_path / "run")]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def _ends(processes):
    """Returns the status and the last line on stderr of each process."""
    ends = []
    for process in processes:
        _, errors = process.communicate(timeout=LIMIT_SECONDS)
        ends.append((process.returncode, errors.strip().splitlines()[-1]))
    return ends


def test_28_coordinator_unreachable_exits_within_the_timeout_names_the_address(tmp_path):
    address = f"127.0.0.1:{_free_port()}"
    start = time.monotonic()
    ((status, said),) = _ends([_start(tmp_path, address, 2, 1)])
    assert status == 134
    assert "process 1 of 2" in said and address in said and "Connection refused" in said
    assert time.monotonic() - start < WAIT_SECONDS + 60
    ((status, said),) = _ends([_start(tmp_path, "no-such-host.invalid:8482", 2, 1)])
    assert status == 134 and "no-such-host.invalid:8482" in said


def test_29_port_in_use_is_a_clear_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ((status, said),) = _ends([_start(tmp_path, address, 2, 0)])
    port = address.split(":")[1]
    assert status == 134
    assert address in said and f"port {port}" in said


def test_30_one_host_not_started_k_of_n_joined_missing_i(tmp_path):
    address = f"127.0.0.1:{_free_port()}"
    ends = _ends([_start(tmp_path, address, 4, number) for number in (0, 2)])
    assert [status for status, _ in ends] == [134, 134]
    facts = ("2 of 4", "missing 1, 3", f"{WAIT_SECONDS} s", address)
    assert all(fact in said for _, said in ends for fact in facts)
    assert not (tmp_path / "run" / "config.json").exists()
