"""The processes of a job: which one this is, what one tells the others, how one ends."""

import itertools
import multiprocessing
import os
from collections.abc import Callable
from typing import Any, NoReturn

import jax

_TELL_SECONDS = 3600  # others may have to wait while the first checks large checkpoints
_told = itertools.count()  # the same in every process, since all ask in the same order


def index() -> int:
    """Returns the number of this process, from 0."""
    return jax.process_index()


def count() -> int:
    """Returns how many processes this job has."""
    return jax.process_count()


def is_main() -> bool:
    """Says whether this process writes what is written once."""
    return jax.process_index() == 0


def told_by_main(make: Callable[[], int]) -> int:
    """Computes a number in the first process and gives it to all, however long that takes.

    Goes by way of the coordinator: the collectives of some backends give up after seconds.
    """
    if jax.process_count() == 1:
        return make()
    from jax._src import distributed

    client: Any = distributed.global_state.client
    key = f"sagan/told/{next(_told)}"
    if is_main():
        number = make()
        client.key_value_set(key, str(number))
        return number
    return int(client.blocking_key_value_get(key, _TELL_SECONDS * 1000))


def exit_now(status: int) -> NoReturn:
    """Ends this process now, from any thread, and those that read images for it."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(status)
