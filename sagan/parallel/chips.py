"""Peak arithmetic and link speeds of chips, by their makers' data sheets. Imports no jax."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One device, as JAX counts devices.

    Attributes:
      peak_flops: dense bfloat16 matrix products, FLOP/s.
      link_bytes: bytes/s in one direction, over one inter-chip link of a TPU, or over all NVLinks
        of a GPU; None where no prediction needs it.
    """

    peak_flops: float
    link_bytes: float | None = None


# By JAX's `device_kind`. Source: the makers' data sheets. The link of a TPU v4 follows from
# cloud.google.com/tpu/docs/v4, "all-reduce bandwidth per Pod 1.1 PB/s" over 4096 chips of 6 links,
# as in jax-ml.github.io/scaling-book/tpus. NVLink of an H100 is 900 GB/s, half of it each way.
CHIPS = {
    "NVIDIA A100-SXM4-40GB": Chip(312e12),
    "NVIDIA A100-SXM4-80GB": Chip(312e12),
    "NVIDIA A100-PCIE-40GB": Chip(312e12),
    "NVIDIA A100 80GB PCIe": Chip(312e12),
    "NVIDIA A10G": Chip(70e12),
    "NVIDIA L4": Chip(121e12),
    "NVIDIA L40S": Chip(362e12),
    "NVIDIA H100 80GB HBM3": Chip(989.4e12, 450e9),
    "NVIDIA H100 PCIe": Chip(756e12),
    "NVIDIA H200": Chip(989.4e12),
    "NVIDIA GH200 480GB": Chip(989.4e12),
    "NVIDIA B200": Chip(2250e12),
    "TPU v3": Chip(61.5e12),  # per core: JAX counts the two cores of a chip as two devices
    "TPU v4": Chip(275e12, 45e9),
    "TPU v5 lite": Chip(197e12),
    "TPU v5e": Chip(197e12),
    "TPU v5": Chip(459e12),
    "TPU v5p": Chip(459e12),
    "TPU v6 lite": Chip(918e12),
    "TPU v6e": Chip(918e12),
}


def share_of_peak(flops_per_second: float, device_kind: str) -> float | None:
    """Returns the fraction of the chip's bfloat16 peak; None if the chip is not in the table."""
    chip = CHIPS.get(device_kind)
    return flops_per_second / chip.peak_flops if chip else None
