"""The hardware that programs run on, as a value.

Code whose choices depend on the hardware takes a `Platform` as an argument, so that a test can
pass another one.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

import jax


class Platform(NamedTuple):
    """One kind of device.

    Attributes:
      backend: `cpu`, `gpu` or `tpu`.
      device_kind: the vendor's name, such as `NVIDIA H100 80GB HBM3`.
      compute_capability: of a GPU, such as `9.0` (NVIDIA) or `gfx942` (AMD); empty elsewhere.
    """

    backend: str
    device_kind: str
    compute_capability: str


_assumed: ContextVar[Platform | None] = ContextVar("assumed", default=None)


def current() -> Platform:
    """Returns the platform of this process's first device, or the one that is assumed."""
    if assumed := _assumed.get():
        return assumed
    device = jax.local_devices()[0]
    capability = getattr(device, "compute_capability", "")
    return Platform(device.platform, device.device_kind, str(capability))


@contextlib.contextmanager
def assume(platform: Platform) -> Iterator[None]:
    """Makes `current` return another platform, so as to trace a program for absent hardware."""
    token = _assumed.set(platform)
    try:
        yield
    finally:
        _assumed.reset(token)
