"""The processes of a job: which one this is, values that the first sends to all, and exits."""

import itertools
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

import jax

Json = Any  # None, bool, int, float, str, or a list or dict (with str keys) of these

_BROADCAST_SECONDS = 3600  # the others wait while the first checks large checkpoints
_CALLBACK_SECONDS = 2  # longest wait for callbacks in `exit_now`, since a disk may never answer
_broadcasts = itertools.count()  # equal in all processes, since all broadcast in the same order
_callbacks: dict[object, Callable[[], None]] = {}


def index() -> int:
    """Returns the number of this process, from 0."""
    return jax.process_index()


def count() -> int:
    """Returns how many processes this job has."""
    return jax.process_count()


def is_main() -> bool:
    """Returns whether this is the first process, which writes the files that a job needs once."""
    return jax.process_index() == 0


def broadcast_from_main(make: Callable[[], Json]) -> Json:
    """Calls `make` in the first process and returns its result in all of them.

    All processes must call this, in the same order. The value passes through JSON, with one
    process too: tuples become lists, and floats keep all their bits. It travels through the
    coordinator, because the collectives of some backends give up after 30 s, while `make` may
    take up to an hour.

    Raises: TypeError or ValueError, in the first process, if the value has no JSON form.
    """
    if jax.process_count() == 1:
        return json.loads(json.dumps(make()))
    store = _key_value_store()
    key = f"sagan/broadcast/{next(_broadcasts)}"
    if is_main():
        text = json.dumps(make())
        store.key_value_set(key, text)
    else:
        text = store.blocking_key_value_get(key, _BROADCAST_SECONDS * 1000)
    return json.loads(text)


def _key_value_store() -> Any:
    """Returns the key-value store of the coordinator that `jax.distributed.initialize` started.

    JAX has no public function for this. What it offers between processes (`multihost_utils`) are
    collectives, which time out. `tests/parallel/test_processes.py` fails if the name changes.
    """
    from jax._src import distributed

    store = distributed.global_state.client
    if store is None:
        raise RuntimeError("the processes of this job have not joined: call joining.initialize")
    return store


def on_exit_now(callback: Callable[[], None]) -> Callable[[], None]:
    """Registers what `exit_now` calls before it ends the process; returns how to unregister it.

    The callback runs in a thread of its own, at the same time as other threads of the process.
    """
    token = object()
    _callbacks[token] = callback

    def unregister() -> None:
        _callbacks.pop(token, None)

    return unregister


def exit_now(status: int) -> NoReturn:
    """Ends this process and its worker processes at once, from any thread.

    First, callbacks of `on_exit_now` run, for at most 2 s. Python does not clean up anything.
    """
    deadline = time.monotonic() + _CALLBACK_SECONDS
    threads = [threading.Thread(target=call, daemon=True) for call in list(_callbacks.values())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(status)
