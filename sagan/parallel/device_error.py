"""What an error of the devices means for whoever started the run."""

import re
from typing import NamedTuple

from jax.errors import JaxRuntimeError

from sagan.config.exit_codes import CRASH, HUNG
from sagan.parallel import joining

_NO_MEMORY = re.compile(r"RESOURCE_EXHAUSTED|out of memory", re.IGNORECASE)
# Backends give a lost connection different codes and words; none of these is a mistake of ours.
_NO_PEER = re.compile(
    r"UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED|gloo|nccl|rccl|connection|coordination"
    r"|barrier|heartbeat|remote process",
    re.IGNORECASE,
)


# While it dispatches, JAX raises some of these as a ValueError, beginning with XLA's code.
# TensorStore's begin so too: a disk that is full is RESOURCE_EXHAUSTED, and no device's memory.
_XLA_CODE = re.compile(r"[A-Z]+(_[A-Z]+)*: ")


class Meaning(NamedTuple):
    """An exit status and a line for people."""

    status: int
    said: str


def meaning(error: BaseException) -> Meaning | None:
    """Reads it from an error, or one that it came of; None if it is no device's."""
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
                "the device's memory does not suffice: take a smaller train.batch_size, more "
                "train.accumulate_steps, model.dtype=bfloat16, or more devices; `sagan check` "
                f"estimates the need ({first})",
            )
        if joining.has_peers() and _NO_PEER.search(text):
            return Meaning(HUNG, f"another process of this job is gone ({first})")
    return None


def _is_device_error(error: BaseException) -> bool:
    if isinstance(error, ValueError):
        return _XLA_CODE.match(str(error)) is not None
    return isinstance(error, JaxRuntimeError)
