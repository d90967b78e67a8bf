"""Rows 28-30: processes that do not find each other end in time, and name who or where."""

import socket
import sys
import time

import pytest
from support import processes

pytestmark = pytest.mark.faults
WAIT_SECONDS = 12
LIMIT_SECONDS = 180  # generous, for a busy machine


def _free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture
def start(environment, tmp_path):
    def start(address, count, number):
        command = [sys.executable, "-m", "sagan", "train", "debug"]
        command += ["--workdir", str(tmp_path / "run")]
        more = {"SAGAN_INIT_TIMEOUT": str(WAIT_SECONDS)}
        job = processes.job(address, count, number)
        return processes.Process(command, environment | job | more)

    return start


def _ends(started):
    """Returns the status and the last line on stderr of each process."""
    ends = []
    for process in started:
        _, errors = process.communicate(timeout=LIMIT_SECONDS)
        ends.append((process.returncode, errors.strip().splitlines()[-1]))
    return ends


def test_28_coordinator_unreachable_exits_within_the_timeout_names_the_address(start):
    address = f"127.0.0.1:{_free_port()}"
    begin = time.monotonic()
    ((status, said),) = _ends([start(address, 2, 1)])
    assert status == 134
    assert "process 1 of 2" in said and address in said and "Connection refused" in said
    assert time.monotonic() - begin < WAIT_SECONDS + 60
    ((status, said),) = _ends([start("no-such-host.invalid:8482", 2, 1)])
    assert status == 134 and "no-such-host.invalid:8482" in said


def test_29_port_in_use_is_a_clear_error(start):
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        ((status, said),) = _ends([start(address, 2, 0)])
    port = address.split(":")[1]
    assert status == 134
    assert address in said and f"port {port}" in said


def test_30_one_host_not_started_k_of_n_joined_missing_i(start, tmp_path):
    address = f"127.0.0.1:{_free_port()}"
    ends = _ends([start(address, 4, number) for number in (0, 2)])
    assert [status for status, _ in ends] == [134, 134]
    facts = ("2 of 4", "missing 1, 3", f"{WAIT_SECONDS} s", address)
    assert all(fact in said for _, said in ends for fact in facts)
    assert not (tmp_path / "run" / "config.json").exists()
