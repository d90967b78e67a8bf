"""Predicts the time of a training step on TPU slices and GPU nodes. Imports no jax.

`sagan/bench/traced.py` counts the arithmetic and the messages of a config's training step. The
predictions follow from a stated model and were not measured: use them to choose how many chips,
and measure before relying on them.

On n devices, a step of F FLOPs that sums messages of b1, b2, ... bytes over all devices takes

    T(n) = F / (n * peak * utilisation) + R(b1) + R(b2) + ...

without overlap, so the time for communication is an upper bound. R(b) is the time of an all-reduce:

    torus  R(b) = 2 (n-1)/n b / W + 2 h a             W: bytes/s out of a chip over all its axes
                                                      (two links of a closed axis, one of an
                                                      open one); h: hops along all axes (half of
                                                      a closed one, all of an open one)
    nodes  R(b) = 2 (g-1)/g b / V + 2 (m-1)/m (b/g) / N + a0 + 2 (g-1) a1 + 2 log2(m) a2
                                                      g GPUs in each of m nodes; V, N: bytes/s of
                                                      a GPU inside and between nodes

Efficiency is T(1) / (n T(n)), that is, compared with one device that processes the whole batch and
communicates with nobody. The model ignores the host, the input and the dispatch, and the lower
efficiency of chips on small batches.
"""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.parallel.chips import CHIPS, Chip

H100 = "NVIDIA H100 80GB HBM3"
# No training has been measured on the other chips. They are assumed to reach the same fraction.
ASSUMED_UTILISATION = CHIPS["NVIDIA H200"].utilisation


class Torus(NamedTuple):
    """A TPU slice.

    Attributes:
      shape: its chips along each axis.
      closed: whether each axis is a ring.
      hop_seconds: latency of one hop between neighbours.
    """

    name: str
    chip: Chip
    shape: tuple[int, ...]
    closed: tuple[bool, ...]
    hop_seconds: float = 1e-6

    @property
    def devices(self) -> int:
        return math.prod(self.shape)

    def all_reduce(self, size: float | int) -> float:
        """Returns the seconds that summing `size` bytes over all chips takes."""
        axes = [(n, ring) for n, ring in zip(self.shape, self.closed, strict=True) if n > 1]
        if not axes:
            return 0.0
        bandwidth = link_bytes(self.chip) * sum(2 if ring else 1 for _, ring in axes)
        hops = sum(length // 2 if ring else length - 1 for length, ring in axes)
        n = self.devices
        return 2 * (n - 1) / n * size / bandwidth + 2 * hops * self.hop_seconds


class Nodes(NamedTuple):
    """GPU nodes, with fast links inside a node and a network between nodes.

    Attributes:
      network_bytes: bytes/s that a GPU sends to other nodes.
      base_seconds, inside_seconds, between_seconds: latency of an all-reduce, of one hop inside a
        node, and of one hop between nodes.
    """

    name: str
    chip: Chip
    devices: int
    per_node: int
    network_bytes: float
    base_seconds: float
    inside_seconds: float
    between_seconds: float

    def all_reduce(self, size: float | int) -> float:
        """Returns the seconds that summing `size` bytes over all GPUs takes.

        The sum is reduced inside each node, then between nodes, and spread inside each node again.
        """
        g = min(self.per_node, self.devices)
        m = self.devices // g
        if self.devices == 1:
            return 0.0
        transfer = 2 * (g - 1) / g * size / link_bytes(self.chip)
        transfer += 2 * (m - 1) / m * (size / g) / self.network_bytes
        latency = self.base_seconds + 2 * (g - 1) * self.inside_seconds
        return transfer + latency + 2 * math.log2(m) * self.between_seconds


Machine = Torus | Nodes

# Generations of TPUs: JAX's name, and the number of axes of a slice.
_TPUS = {"v4": ("TPU v4", 3), "v5e": ("TPU v5 lite", 2), "v5p": ("TPU v5p", 3),
         "v6e": ("TPU v6 lite", 2)}  # fmt: skip
# The machines of the table in docs/launching.md.
SHOWN = ("v4:2x2x1", "v4:2x2x4", "v4:4x4x4", "v5e:2x4", "v5e:8x8", "v5e:16x16", "v5p:2x2x4",
         "v6e:4x4", "h100:1", "h100:8", "h100:16", "h100:64")  # fmt: skip
_FORMS = "v4:2x2x4, v5e:4x4, v5p:2x2x1, v6e:8x8, h100:8"


def link_bytes(chip: Chip) -> float:
    require(chip.link_bytes is not None, f"{chip}: the speed of its links is not known")
    assert chip.link_bytes is not None
    return chip.link_bytes


def machine(name: str) -> Machine:
    """Returns the machine of a name: a TPU slice by its shape, or a number of H100.

    Args:
      name: such as `v5e:16x16`, `v4:2x2x4` or `h100:8`.

    Raises: ConfigError for a name of another form.
    """
    generation, _, size = name.partition(":")
    if generation == "h100" and re.fullmatch(r"\d+", size):
        return h100(int(size))
    if generation in _TPUS and re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", size):
        kind, axes = _TPUS[generation]
        shape = tuple(map(int, size.split("x")))
        require(len(shape) == axes, f"{name}; allowed: a slice with {axes} axes")
        return Torus(name, CHIPS[kind], shape, _rings(shape))
    raise ConfigError(f"{name!r} is no machine; allowed: such as {_FORMS}")


def _rings(shape: tuple[int, ...]) -> tuple[bool, ...]:
    """Returns which axes of a slice are closed.

    With three axes, all are rings if the slice is made of whole cubes of 4x4x4 chips, else none.
    With two axes, those of 16 chips are rings, which is a side of a whole pod.

    Source: jax-ml.github.io/scaling-book/tpus, "TPU networking".
    """
    if len(shape) == 2:
        return tuple(length == 16 for length in shape)
    return (all(length % 4 == 0 for length in shape),) * 3


def slice_of(generation: str, chips: int) -> str | None:
    """Returns the name of the most compact slice with so many chips; None if there is none."""
    two = "1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16"
    three = "2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8"
    for size in two if _TPUS[generation][1] == 2 else three:
        if math.prod(map(int, size.split("x"))) == chips:
            return f"{generation}:{size}"
    return None


def h100(count: int) -> Nodes:
    """Returns H100 SXM GPUs, eight to a node, each with its own 400 Gb/s adapter.

    Source: DGX H100 datasheet (8 ConnectX-7 at 400 Gb/s). The latencies are those that NCCL's own
      tuning assumes for its tree (github.com/NVIDIA/nccl, src/graph/tuning.cc at 01afd20: 4.4 us,
      0.52 us per NVLink hop and 1.8 times that with several nodes, 5.0 us per network hop).

    Raises: ConfigError unless `count` is below 8 or fills nodes.
    """
    allowed = count >= 1 and (count < 8 or count % 8 == 0)
    require(allowed, f"{count} H100; allowed: 1 to 7, or a multiple of 8")
    inside = 0.52e-6 * (1.8 if count > 8 else 1.0)
    return Nodes(f"h100:{count}", CHIPS[H100], count, 8, 50e9, 4.4e-6, inside, 5.0e-6)


class Prediction(NamedTuple):
    """Seconds of arithmetic and of communication in a step, and the efficiency (see above)."""

    math: float
    communication: float
    efficiency: float

    @property
    def seconds(self) -> float:
        return self.math + self.communication


def predict(machine: Machine, *, flops: float, messages: Sequence[float | int]) -> Prediction:
    """Predicts one step by the model that the top of this file describes.

    Args:
      flops: FLOPs of the matrix products of one step, over all devices.
      messages: bytes of each all-reduce of a step.
    """
    utilisation = machine.chip.utilisation or ASSUMED_UTILISATION
    assert utilisation is not None
    whole = flops / (machine.chip.peak_flops * utilisation)
    communication = sum(map(machine.all_reduce, messages))
    alone = whole / machine.devices
    return Prediction(alone, communication, alone / (alone + communication))
