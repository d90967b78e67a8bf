"""Explains an error that a device has raised, and chooses the exit code for it."""

import re
from typing import NamedTuple

from jax.errors import JaxRuntimeError

from sagan.config.exit_codes import CRASH, HUNG
from sagan.parallel import joining

_NO_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|out of memory", re.IGNORECASE)
# Backends report a lost connection with different codes and words.
_NO_PEER = re.compile(
    r"UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|gloo|nccl|rccl|connection|coordination"
    r"|barrier|heartbeat|remote process",
    re.IGNORECASE,
)
# While dispatching, JAX raises some device errors as a ValueError that begins with XLA's code.
# TensorStore's errors begin the same way: there RESOURCE_EXHAUSTED means a full disk. Only a
# JaxRuntimeError is therefore taken as a lack of device memory.
_XLA_CODE = re.compile(r"[A-Z]+(_[A-Z]+)*: ")


class Meaning(NamedTuple):
    """An exit code and an explanation in one line."""

    status: int
    text: str


def meaning(error: BaseException) -> Meaning | None:
    """Explains an error if it, or one that caused it, comes from a device; else returns None."""
    seen: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in seen:
        seen.append(one)
        one = one.__cause__ or one.__context__
    for one in filter(_is_device_error, seen):
        text = str(one)
        first = text.strip().splitlines()[0] if text.strip() else ""
        if isinstance(one, JaxRuntimeError) and _NO_MEMORY.search(text):
            return Meaning(
                CRASH,
                "the device has too little memory: take a smaller train.batch_size, more "
                "train.accumulate_steps, model.dtype=bfloat16, or more devices; `sagan check` "
                f"estimates how much is needed ({first})",
            )
        if joining.has_peers() and _NO_PEER.search(text):
            return Meaning(HUNG, f"another process of this job is gone ({first})")
    return None


def _is_device_error(error: BaseException) -> bool:
    if isinstance(error, ValueError):
        return _XLA_CODE.match(str(error)) is not None
    return isinstance(error, JaxRuntimeError)
