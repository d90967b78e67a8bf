"""Predicts the time of a training step on TPU slices and GPU nodes. Imports no jax.

`sagan/bench/pods.py` counts a preset's arithmetic and messages, and prints a table. The
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
from collections.abc import Sequence
from typing import NamedTuple

from sagan.config.fields import require
from sagan.parallel.chips import CHIPS, Chip


class Torus(NamedTuple):
    """A TPU slice: `shape` is its chips along each axis."""

    name: str
    chip: Chip
    shape: tuple[int, ...]
    hop_seconds: float

    @property
    def devices(self) -> int:
        return math.prod(self.shape)

    def all_reduce(self, size: float) -> float:
        """Returns the seconds that summing `size` bytes over all chips takes."""
        # An axis is a closed ring only if the slice is made of whole 4x4x4 cubes.
        closed = all(length % 4 == 0 for length in self.shape)
        axes = [length for length in self.shape if length > 1]
        if not axes:
            return 0.0
        bandwidth = link_bytes(self.chip) * len(axes) * (2 if closed else 1)
        hops = sum(length // 2 if closed else length - 1 for length in axes)
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

    def all_reduce(self, size: float) -> float:
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


def link_bytes(chip: Chip) -> float:
    require(chip.link_bytes is not None, f"{chip}: the speed of its links is not known")
    assert chip.link_bytes is not None
    return chip.link_bytes


def tpu_v4(cores: int) -> Torus:
    """Returns a v4 slice, which Google names by cores: v4-8 has 4 chips.

    Source: the slices' shapes, cloud.google.com/tpu/docs/v4; about 1 us a hop,
      jax-ml.github.io/scaling-book, "sharding".

    Raises: ConfigError for a size that is not in the table.
    """
    shapes = {8: (2, 2, 1), 16: (2, 2, 2), 32: (2, 2, 4), 64: (2, 4, 4), 128: (4, 4, 4)}
    require(cores in shapes, f"v4-{cores}; allowed: {', '.join(f'v4-{c}' for c in shapes)}")
    return Torus(f"v4-{cores}", CHIPS["TPU v4"], shapes[cores], 1e-6)


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
    chip = CHIPS["NVIDIA H100 80GB HBM3"]
    return Nodes(f"{count} H100", chip, count, 8, 50e9, 4.4e-6, inside, 5.0e-6)


class Prediction(NamedTuple):
    """Seconds of arithmetic and of communication in a step, and the efficiency (see above)."""

    math: float
    communication: float
    efficiency: float


def predict(
    machine: Torus | Nodes, *, flops: float, messages: Sequence[float], utilisation: float
) -> Prediction:
    """Predicts one step by the model that the top of this file describes.

    Args:
      flops: FLOPs of one step, over all devices.
      messages: bytes of each all-reduce of a step.
      utilisation: fraction of the chips' peak FLOP/s that the arithmetic reaches.
    """
    whole = flops / (machine.chip.peak_flops * utilisation)
    communication = sum(map(machine.all_reduce, messages))
    alone = whole / machine.devices
    return Prediction(alone, communication, alone / (alone + communication))
