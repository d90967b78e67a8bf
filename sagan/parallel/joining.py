"""Joining the other processes of a job, whoever started them."""

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
_SHUTDOWN_SECONDS = 10  # a failed process does not keep the others waiting for longer


def initialize(*, preemptible: bool = False) -> None:
    """Joins the other processes of this job; a lone process joins itself.

    `SAGAN_COORDINATOR` (host:port), `SAGAN_NUM_PROCESSES` and `SAGAN_PROCESS_ID` say so
    explicitly; without them, clusters that JAX knows are detected (Slurm, Open MPI, GKE, Cloud
    TPU). `SAGAN_INIT_TIMEOUT` (seconds, 300) and `SAGAN_HEARTBEAT` (seconds, 20: after so long
    without a sign of a process, the others end) bound the waits.

    Args:
      preemptible: leave SIGTERM to JAX, by which all processes agree on a step to stop at.
        Otherwise SIGTERM means what it meant before.

    Raises:
      ConfigError: only some of the three variables are set, or no number is one.
      JoinError: the others did not come, or the address is wrong or taken.
    """
    if jax.distributed.is_initialized():
        return
    timeout = _seconds("SAGAN_INIT_TIMEOUT", 300)
    heartbeat = _seconds("SAGAN_HEARTBEAT", 20)
    place = _explicit() or _detected(timeout) or _alone()
    address, num_processes, process_id, local_devices = place
    if num_processes > 1:
        roll_call.call(address, num_processes, process_id, timeout)
    before = signal.getsignal(signal.SIGTERM)
    try:
        jax.distributed.initialize(
            address,
            num_processes,
            process_id,
            local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=heartbeat,
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except Exception as error:
        if num_processes == 1:
            return  # the devices are in use already, as in a notebook; nobody else is needed
        raise JoinError(f"could not join {address} within {timeout} s: {error}") from error
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and not (preemptible and num_processes > 1):
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
    if num_processes > 1:
        _others.set()
        from jax.experimental import multihost_utils

        # The first collective of some backends has a short deadline, which compile skew outruns.
        multihost_utils.sync_global_devices("start")


_others = threading.Event()


def others() -> bool:
    """Says whether this process has joined others."""
    return _others.is_set()


class _Place(NamedTuple):
    address: str
    num_processes: int
    process_id: int
    local_devices: Sequence[int] | None


def _explicit() -> _Place | None:
    given = {n: os.environ.get(n) for n in (COORDINATOR, NUM_PROCESSES, PROCESS_ID)}
    if not any(given.values()):
        return None
    absent = [name for name, value in given.items() if not value]
    if absent:
        raise ConfigError(f"{', '.join(absent)} must be set along with {COORDINATOR}")
    numbers = {name: str(given[name]) for name in (NUM_PROCESSES, PROCESS_ID)}
    for name, value in numbers.items():
        if not value.isdigit():
            raise ConfigError(f"{name}={value!r}; allowed: a number")
    count, number = (int(value) for value in numbers.values())
    if not 0 <= number < count:
        raise ConfigError(
            f"{PROCESS_ID}={number}; allowed: 0 ... {NUM_PROCESSES} - 1 = {count - 1}"
        )
    return _Place(str(given[COORDINATOR]), count, number, None)


def _detected(timeout: int) -> _Place | None:
    """Asks JAX for the cluster around this process; None outside one."""
    from jax._src import clusters

    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, timeout
    )
    address, count, number, devices = found
    if address is None or count is None or number is None:
        return None
    return _Place(address, count, number, devices)


def _alone() -> _Place:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return _Place(f"127.0.0.1:{free.getsockname()[1]}", 1, 0, None)


def _seconds(name: str, default: int) -> int:
    value = os.environ.get(name) or str(default)
    if not value.isdigit() or int(value) == 0:
        raise ConfigError(f"{name}={value!r}; allowed: whole seconds, at least 1")
    return int(value)
