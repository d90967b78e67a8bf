"""What chips can do, by their makers' data sheets. Imports no jax."""

from typing import NamedTuple


class Chip(NamedTuple):
    """One device, as JAX counts devices.

    Attributes:
      peak_flops: dense bfloat16 matrix products, FLOP/s.
      link_bytes: bytes/s in one direction, over one inter-chip link of a TPU, or over all NVLinks
        of a GPU.
      memory_bytes: size of its memory.
      memory_bandwidth: bytes/s to and from its memory.
      utilisation: fraction of `peak_flops` that a training step's matrix products reached, where
        that was measured; see docs/benchmarks.md.

    All but the first are None where they are not known, or no prediction needs them.
    """

    peak_flops: float
    link_bytes: float | None = None
    memory_bytes: int | None = None
    memory_bandwidth: float | None = None
    utilisation: float | None = None


# By JAX's `device_kind`. Source: the makers' data sheets, and for links and memory of TPUs
# jax-ml.github.io/scaling-book/tpus. The link of a TPU v4 also follows from "all-reduce bandwidth
# per Pod 1.1 PB/s" (cloud.google.com/tpu/docs/v4) over 4096 chips of 6 links. NVLink of an H100 is
# 900 GB/s, half of it each way.
_V5E = Chip(197e12, 45e9, 16 << 30, 0.81e12)
_V5P = Chip(459e12, 90e9, 96 << 30, 2.8e12)
_V6E = Chip(918e12, 90e9, 32 << 30, 1.6e12)
CHIPS = {
    "NVIDIA A100-SXM4-40GB": Chip(312e12),
    "NVIDIA A100-SXM4-80GB": Chip(312e12),
    "NVIDIA A100-PCIE-40GB": Chip(312e12),
    "NVIDIA A100 80GB PCIe": Chip(312e12),
    "NVIDIA A10G": Chip(70e12),
    "NVIDIA L4": Chip(121e12),
    "NVIDIA L40S": Chip(362e12),
    "NVIDIA H100 80GB HBM3": Chip(989.4e12, 450e9, 80 << 30, 3.35e12),
    "NVIDIA H100 PCIe": Chip(756e12),
    # 25.9 TFLOP in 141 ms: `imagenet128` in bfloat16 with a batch of 256, at dbd5c76.
    "NVIDIA H200": Chip(989.4e12, utilisation=25.9e12 / 0.141 / 989.4e12),
    "NVIDIA GH200 480GB": Chip(989.4e12),
    "NVIDIA B200": Chip(2250e12),
    "TPU v3": Chip(61.5e12),  # per core: JAX counts the two cores of a chip as two devices
    "TPU v4": Chip(275e12, 45e9, 32 << 30, 1.2e12),
    "TPU v5 lite": _V5E,
    "TPU v5e": _V5E,
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": _V6E,
    "TPU v6e": _V6E,
}


def share_of_peak(flops_per_second: float, device_kind: str) -> float | None:
    """Returns the fraction of the chip's bfloat16 peak; None if the chip is not in the table."""
    chip = CHIPS.get(device_kind)
    return flops_per_second / chip.peak_flops if chip else None
