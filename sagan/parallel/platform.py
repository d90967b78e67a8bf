"""The hardware that programs run on, as a value.

Code whose choices depend on the hardware takes a `Platform` as an argument, so that a test can
pass another one.
"""

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


def current() -> Platform:
    """Returns the platform of this process's first device."""
    device = jax.local_devices()[0]
    capability = getattr(device, "compute_capability", "")
    return Platform(device.platform, device.device_kind, str(capability))
