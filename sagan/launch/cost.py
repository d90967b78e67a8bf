"""Predicts the step time of a GAN on TPU slices and GPU nodes. Imports no jax.

`sagan/bench/pods.py` gives it the sizes of a preset's networks and prints a table. The predictions
follow from a stated model and were not measured: use them to choose how many chips, and measure
before relying on them.

With n devices and a global batch B, one training step (k updates of D, one of G) takes

    T(n)   = T_math + T_comm                          without overlap, so T_comm is an upper bound
    T_math = (B / n) * F / (peak * utilisation)
    F      = (k + 3) * F_G + (6 * k + 2) * F_D        FLOPs per image of the batch
    T_comm = k * R(4 * P_D) + R(4 * P_G) + sum over batch norms of (k + 2) * R(8 * channels)

F_G and F_D are the FLOPs of one forward pass per image. An update of D runs G forwards, and D
forwards and backwards (3 F_D) on one real and one fake image. An update of G costs 3 F_G, and in D
one forward pass and the gradient for its input (2 F_D). P_D and P_G count parameters, whose float32
gradients are averaged. Batch norm, only in G, averages a sum and a sum of squares per channel in
each of k + 1 forward passes, and as much once in the backward pass. R(b) is the time of an
all-reduce of b bytes:

    torus  R(b) = 2 (n-1)/n b / W + 2 h a             W: bytes/s out of a chip over all its axes
                                                      (two links of a closed axis, one of an
                                                      open one); h: hops along all axes (half of
                                                      a closed one, all of an open one)
    nodes  R(b) = 2 (g-1)/g b / V + 2 (m-1)/m (b/g) / N + a0 + 2 (g-1) a1 + 2 log2(m) a2
                                                      g GPUs in each of m nodes; V, N: bytes/s of
                                                      a GPU inside and between nodes

Efficiency is T(1) / (n T(n)) with T_comm(1) = 0, that is, compared with one device that processes
the whole batch. The model leaves out the host, the input, the dispatch, and that chips use small
batches less well.
"""

import math
from typing import NamedTuple

from sagan.config.fields import require
from sagan.parallel.chips import CHIPS, Chip


class Work(NamedTuple):
    """The size of one network.

    Attributes:
      flops: of one forward pass of one image; a product and a sum are 2.
      batch_norms: channels of each batch norm.
    """

    parameters: int
    flops: float
    batch_norms: tuple[int, ...] = ()


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
    """Seconds of one step, and what follows from them.

    Attributes:
      images_per_second: real images that go through D.
    """

    math: float
    communication: float
    efficiency: float
    images_per_second: float


def predict(
    machine: Torus | Nodes,
    generator: Work,
    discriminator: Work,
    *,
    batch_size: int,
    d_steps: int,
    utilisation: float,
    flops_per_image: float | None = None,
) -> Prediction:
    """Applies the model that the top of this file describes.

    Args:
      batch_size: global, per update of either network.
      d_steps: updates of D per update of G.
      utilisation: share of the chips' peak that the arithmetic reaches.
      flops_per_image: F of the formula, if it was measured; otherwise F follows from the sizes.
    """
    k = d_steps
    per_image = flops_per_image or ((k + 3) * generator.flops + (6 * k + 2) * discriminator.flops)
    whole = batch_size * per_image / (machine.chip.peak_flops * utilisation)
    reduce = machine.all_reduce
    communication = k * reduce(4.0 * discriminator.parameters) + reduce(4.0 * generator.parameters)
    communication += (k + 2) * sum(reduce(8.0 * channels) for channels in generator.batch_norms)
    seconds = whole / machine.devices + communication
    return Prediction(
        whole / machine.devices,
        communication,
        whole / (machine.devices * seconds),
        batch_size * k / seconds,
    )
