"""Predicts step time and efficiency of SAGAN at 128 px on TPU slices and GPU nodes.

`python -m sagan.launch.cost` prints the table. These are predictions of a stated model, not
measurements: take them for choosing how many chips, and measure before relying on one.

With n devices and a global batch B, one training step (k updates of D, one of G) takes

    T(n)   = T_math + T_comm                          nothing overlaps: an upper bound on T_comm
    T_math = (B / n) * F / (peak * utilisation)
    F      = (k + 3) * F_G + (6 * k + 2) * F_D        FLOPs per image of the batch
    T_comm = k * R(4 * P_D) + R(4 * P_G) + sum over batch norms of (k + 2) * R(8 * channels)

F_G and F_D are the FLOPs of one forward pass: D's update runs G forward, and D forward and
backward (3 F_D) on a real and on a fake image; G's update is 3 F_G, and through D one forward and
the gradient for its input (2 F_D). P are parameters, whose float32 gradients are averaged. Batch
norm, only in G, averages a sum and a sum of squares per channel in each forward pass (k + 1), and
as much once in the backward pass. R(b) is the time of an all-reduce of b bytes:

    torus  R(b) = 2 (n-1)/n b / W + 2 h a             W: bytes/s out of a chip over all its axes
                                                      (two links of a closed axis, one of an
                                                      open one); h: hops along all axes (half of
                                                      a closed one, all of an open one)
    nodes  R(b) = 2 (g-1)/g b / V + 2 (m-1)/m (b/g) / N + a0 + 2 (g-1) a1 + 2 log2(m) a2
                                                      g GPUs in each of m nodes; V, N: bytes/s of
                                                      a GPU inside and between nodes

Efficiency is T(1) / (n T(n)) with T_comm(1) = 0: against one device that does the whole batch.
Left out: the host, input, dispatch, and that small batches per chip use it worse.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sagan.config import ConfigError
from sagan.config.fields import require

BATCH_SIZE = 256  # of the paper's 128 px runs
# Assumption: share of the peak that convolutions of this size reach. Measure it with
# `sagan bench` and give that file, or --utilisation.
UTILISATION = 0.3


class Work(NamedTuple):
    """What one network costs: parameters, FLOPs of a forward pass, channels of its batch norms."""

    parameters: int
    flops: float
    batch_norms: tuple[int, ...] = ()


class Torus(NamedTuple):
    """A TPU slice."""

    name: str
    shape: tuple[int, ...]
    peak_flops: float
    link_bytes: float  # per second, one link, one direction
    hop_seconds: float

    @property
    def devices(self) -> int:
        return math.prod(self.shape)

    def all_reduce(self, size: float) -> float:
        """Seconds to sum `size` bytes over all chips."""
        # An axis closes to a ring only where the slice is made of whole 4x4x4 cubes.
        closed = all(length % 4 == 0 for length in self.shape)
        axes = [length for length in self.shape if length > 1]
        if not axes:
            return 0.0
        bandwidth = self.link_bytes * len(axes) * (2 if closed else 1)
        hops = sum(length // 2 if closed else length - 1 for length in axes)
        n = self.devices
        return 2 * (n - 1) / n * size / bandwidth + 2 * hops * self.hop_seconds


class Nodes(NamedTuple):
    """GPU nodes: fast links inside, a network between."""

    name: str
    devices: int
    peak_flops: float
    per_node: int
    inside_bytes: float  # per second and GPU, one direction
    between_bytes: float
    base_seconds: float
    inside_seconds: float
    between_seconds: float

    def all_reduce(self, size: float) -> float:
        """Seconds to sum `size` bytes over all GPUs: inside each node, between, inside again."""
        g = min(self.per_node, self.devices)
        m = self.devices // g
        if self.devices == 1:
            return 0.0
        transfer = 2 * (g - 1) / g * size / self.inside_bytes
        transfer += 2 * (m - 1) / m * (size / g) / self.between_bytes
        latency = self.base_seconds + 2 * (g - 1) * self.inside_seconds
        return transfer + latency + 2 * math.log2(m) * self.between_seconds


def tpu_v4(cores: int) -> Torus:
    """A v4 slice, named as Google does, by cores: v4-8 has 4 chips.

    Source: peak and the slices' shapes, cloud.google.com/tpu/docs/v4 (275 TFLOP/s bf16). Link:
      its "all-reduce bandwidth per Pod 1.1 PB/s" over 4096 chips and 6 links is 45 GB/s, as in
      jax-ml.github.io/scaling-book/tpus. Hop: about 1 us, ibid., "sharding".

    Raises: ConfigError for a size not in the table.
    """
    shapes = {8: (2, 2, 1), 16: (2, 2, 2), 32: (2, 2, 4), 64: (2, 4, 4), 128: (4, 4, 4)}
    require(cores in shapes, f"v4-{cores}; known: {', '.join(f'v4-{c}' for c in shapes)}")
    return Torus(f"v4-{cores}", shapes[cores], 275e12, 45e9, 1e-6)


def h100(count: int) -> Nodes:
    """H100 SXM GPUs, eight to a node, each with its own 400 Gb/s adapter.

    Source: NVIDIA H100 datasheet (989.4 TFLOP/s bf16 dense; NVLink 900 GB/s, half of it each
      way), DGX H100 datasheet (8 ConnectX-7 at 400 Gb/s). Latencies: what NCCL's own tuning
      assumes for its tree (github.com/NVIDIA/nccl, src/graph/tuning.cc at 01afd20: 4.4 us, 0.52
      us per NVLink hop and 1.8 times that with several nodes, 5.0 us per network hop).

    Raises: ConfigError unless `count` is below 8 or fills nodes.
    """
    require(
        count >= 1 and (count < 8 or count % 8 == 0), f"{count} H100; allowed: 1-7, or 8 a node"
    )
    inside = 0.52e-6 * (1.8 if count > 8 else 1.0)
    return Nodes(f"{count} H100", count, 989.4e12, 8, 450e9, 50e9, 4.4e-6, inside, 5.0e-6)


_G_CHANNELS = (1024, 1024, 512, 256, 128, 64)  # at 4, 8, ... 128 px
_D_CHANNELS = (3, 64, 128, 256, 512, 1024, 1024)  # at 128, 64, ... 4, and once more 4 px


def sagan128_generator(num_classes: int = 1000, attention: int = 64, z_dim: int = 128) -> Work:
    """Counts the generator of the 128 px presets, layer by layer, a product and sum as 2 FLOPs."""
    first = _G_CHANNELS[0] * 16
    parameters, flops = (z_dim + 1) * first, 2.0 * z_dim * first
    norms: list[int] = []
    for i, (c, d) in enumerate(zip(_G_CHANNELS, _G_CHANNELS[1:], strict=False)):
        size = 8 << i
        parameters += 9 * c * d + 9 * d * d + c * d + 3 * d  # two 3x3, the skip's 1x1, biases
        flops += 2.0 * size**2 * (9 * c * d + 9 * d * d + c * d)
        norms += [c, d]
        parameters += 2 * num_classes * (c + d)
        if size == attention:
            parameters, flops = parameters + _attention(d, size)[0], flops + _attention(d, size)[1]
    last = _G_CHANNELS[-1]
    parameters += 2 * last + 9 * last * 3 + 3
    flops += 2.0 * 128**2 * 9 * last * 3
    return Work(parameters, flops, (*norms, last))


def sagan128_discriminator(num_classes: int = 1000, attention: int = 64) -> Work:
    """Counts the discriminator of the 128 px presets; see `sagan128_generator`."""
    parameters, flops = 0, 0.0
    for i, (c, d) in enumerate(zip(_D_CHANNELS, _D_CHANNELS[1:], strict=False)):
        size = max(128 >> i, 4)
        down = i < 5
        parameters += 9 * c * d + 9 * d * d + 2 * d
        flops += 2.0 * size**2 * (9 * c * d + 9 * d * d)
        if down:
            skip_size = size // 2 if i == 0 else size  # the first block pools before its skip
            parameters += c * d + d
            flops += 2.0 * skip_size**2 * c * d
        if down and size // 2 == attention:
            extra = _attention(d, size // 2)
            parameters, flops = parameters + extra[0], flops + extra[1]
    width = _D_CHANNELS[-1]
    return Work(parameters + width + 1 + num_classes * width, flops + 4.0 * width)


def _attention(c: int, size: int) -> tuple[int, float]:
    """Parameters and FLOPs of self-attention with pooled keys and values."""
    n = size * size
    projections = c * c // 8 * 2 + c * c // 2 * 2
    return projections + 1, 2.0 * n * projections + 2.0 * n * (n // 4) * (c // 8 + c // 2)


class Prediction(NamedTuple):
    """Seconds of one step, and what follows from them."""

    math: float
    communication: float
    efficiency: float
    images_per_second: float


def predict(
    machine: Torus | Nodes,
    generator: Work,
    discriminator: Work,
    *,
    batch_size: int = BATCH_SIZE,
    d_steps: int = 1,
    utilisation: float = UTILISATION,
    flops_per_image: float | None = None,
) -> Prediction:
    """Applies the model of this module.

    Args:
      batch_size: global, per update of either player.
      flops_per_image: F of the formula, where it has been measured; else it is counted.

    Returns:
      `images_per_second` counts the real images that go through D.
    """
    k = d_steps
    per_image = flops_per_image or ((k + 3) * generator.flops + (6 * k + 2) * discriminator.flops)
    whole = batch_size * per_image / (machine.peak_flops * utilisation)
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


def table(batch_size: int, d_steps: int, utilisation: float, flops_per_image: float | None) -> str:
    """The predictions as Markdown: a fixed global batch, and a fixed batch per chip."""
    generator, discriminator = sagan128_generator(), sagan128_discriminator()
    machines = [tpu_v4(c) for c in (8, 16, 32, 64, 128)] + [h100(c) for c in (8, 16, 32, 64)]
    lines = [
        "| predicted | chips | batch | step ms | of it communication ms | real images/s "
        "| efficiency | efficiency at 32 images a chip |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for machine in machines:
        fixed, grown = (
            predict(
                machine,
                generator,
                discriminator,
                batch_size=size,
                d_steps=d_steps,
                utilisation=utilisation,
                flops_per_image=flops_per_image,
            )
            for size in (batch_size, 32 * machine.devices)
        )
        lines.append(
            f"| {machine.name} | {machine.devices} | {batch_size} "
            f"| {1e3 * (fixed.math + fixed.communication):.1f} | {1e3 * fixed.communication:.2f} "
            f"| {fixed.images_per_second:,.0f} | {fixed.efficiency:.0%} | {grown.efficiency:.0%} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sagan.launch.cost", description=main.__doc__)
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE, help="global")
    parser.add_argument("--d-steps", type=int, default=1, help="updates of D per update of G")
    parser.add_argument("--utilisation", type=float, help=f"of the peak (default {UTILISATION})")
    parser.add_argument("--flops-per-image", type=float, help="of a step (default: counted)")
    parser.add_argument("--bench", type=Path, help="take both from a file of `sagan bench --json`")
    args = parser.parse_args(argv)
    try:
        if args.bench:
            flops, utilisation = read_bench(args.bench)
        else:
            flops, utilisation = args.flops_per_image, None
        utilisation = args.utilisation or utilisation or UTILISATION
        require(0 < utilisation <= 1, f"--utilisation {utilisation}; allowed: (0, 1]")
        print(table(args.batch_size, args.d_steps, utilisation, flops))
    except ConfigError as error:
        parser.error(str(error))
    return 0


def read_bench(path: Path) -> tuple[float, float | None]:
    """FLOPs per image of the batch, and the share of the peak, that `sagan bench` measured.

    Raises: ConfigError if the file is not its `--json` of one config.
    """
    try:
        bench = json.loads(path.read_text())
        train = bench["train"]
        steps = round(train["seconds_median"] / train["seconds_per_step"])  # in one dispatch
        devices = int(bench["devices"].split()[0])
        per_image = train["flops_per_device"] * devices / (bench["batch_size"] * steps)
        share = train.get("share_of_peak")
        return float(per_image), share if isinstance(share, float) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no output of `sagan bench --json`: {error!r}") from error


if __name__ == "__main__":
    raise SystemExit(main())
