"""Finds the job that this process belongs to, and joins its other processes."""

import os
import signal
import socket
import threading
from collections.abc import Sequence
from typing import NamedTuple

import jax

from sagan.config import ConfigError
from sagan.parallel import roll_call
from sagan.parallel.roll_call import JoinError

COORDINATOR = "SAGAN_COORDINATOR"
NUM_PROCESSES = "SAGAN_NUM_PROCESSES"
PROCESS_ID = "SAGAN_PROCESS_ID"
_SHUTDOWN_SECONDS = 10  # longest time that the others wait, at the end, for one that failed

_joined_peers = threading.Event()


def initialize(*, preemptible: bool = False) -> None:
    """Joins the other processes of this job. A process without a job becomes a job of one.

    `SAGAN_COORDINATOR` (host:port), `SAGAN_NUM_PROCESSES` and `SAGAN_PROCESS_ID` describe the
    job. Without them, the clusters that JAX knows are detected (Slurm, Open MPI, GKE, Cloud TPU).
    `SAGAN_INIT_TIMEOUT` is how long to wait for the others (seconds, default 300);
    `SAGAN_HEARTBEAT`, after how long without a heartbeat a process counts as lost and the others
    end (seconds, default 20).

    Args:
      preemptible: leave SIGTERM to JAX, with which all processes agree on the step to stop at.
        Otherwise SIGTERM keeps the meaning it had.

    Raises:
      ConfigError: only some of the three variables are set, or one is not a valid number.
      JoinError: not all processes joined, or the address is wrong or in use.
    """
    if jax.distributed.is_initialized():
        return
    timeout = _seconds("SAGAN_INIT_TIMEOUT", 300)
    heartbeat = _seconds("SAGAN_HEARTBEAT", 20)
    job = _job_from_environment() or _job_from_cluster(timeout) or _job_of_one()
    if job.num_processes > 1:
        roll_call.call(job.address, job.num_processes, job.process_id, timeout)
    sigterm_handler = signal.getsignal(signal.SIGTERM)
    try:
        jax.distributed.initialize(
            job.address,
            job.num_processes,
            job.process_id,
            job.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except Exception as error:
        if job.num_processes == 1:
            return  # JAX runs already, as in a notebook; one process does not need the others
        raise JoinError(f"could not join {job.address} within {timeout} s: {error}") from error
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and not (preemptible and job.num_processes > 1):
        signal.signal(signal.SIGTERM, sigterm_handler or signal.SIG_DFL)
    if job.num_processes > 1:
        _joined_peers.set()
        from jax.experimental import multihost_utils

        # Synchronise now: the first collective of some backends has a short deadline, which
        # processes that compile at different speeds would miss.
        multihost_utils.sync_global_devices("start")


def has_peers() -> bool:
    """Returns whether this process has joined others."""
    return _joined_peers.is_set()


class _Job(NamedTuple):
    address: str  # host:port of process 0
    num_processes: int
    process_id: int
    local_devices: Sequence[int] | None  # None: all devices of the machine


def _job_from_environment() -> _Job | None:
    """Reads the three variables; returns None if none is set."""
    given = {n: os.environ.get(n) for n in (COORDINATOR, NUM_PROCESSES, PROCESS_ID)}
    if not any(given.values()):
        return None
    absent = [name for name, value in given.items() if not value]
    if absent:
        raise ConfigError(
            f"{', '.join(absent)} not set; {COORDINATOR}, {NUM_PROCESSES} and {PROCESS_ID} must "
            "be set together"
        )
    numbers = {name: str(given[name]) for name in (NUM_PROCESSES, PROCESS_ID)}
    for name, value in numbers.items():
        if not value.isdigit():
            raise ConfigError(f"{name}={value!r}; allowed: a number")
    count, number = (int(value) for value in numbers.values())
    if not 0 <= number < count:
        raise ConfigError(
            f"{PROCESS_ID}={number}; allowed: 0 ... {NUM_PROCESSES} - 1 = {count - 1}"
        )
    return _Job(str(given[COORDINATOR]), count, number, None)


def _job_from_cluster(timeout: int) -> _Job | None:
    """Asks JAX which cluster this process runs in; returns None outside one.

    JAX has no public function for this: `jax.distributed.initialize` detects clusters too, but
    joins at once, without a roll call. `tests/parallel/test_joining.py` fails if this private
    function or its results change.
    """
    from jax._src import clusters

    address, count, number, devices = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        coordinator_address=None,
        num_processes=None,
        process_id=None,
        local_device_ids=None,
        cluster_detection_method=None,
        initialization_timeout=timeout,
    )
    if address is None or count is None or number is None:
        return None
    return _Job(address, count, number, devices)


def _job_of_one() -> _Job:
    """Returns a job of this process alone, for which JAX is set up as for a larger one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return _Job(f"127.0.0.1:{free.getsockname()[1]}", 1, 0, None)


def _seconds(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit() or int(value) == 0:
        raise ConfigError(f"{name}={value!r}; allowed: whole seconds, at least 1")
    return int(value)
