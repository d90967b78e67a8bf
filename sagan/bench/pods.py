"""Predicts a preset's training on TPU slices and GPU nodes: `python -m sagan.bench.pods [PRESET]`.

`sagan/launch/cost.py` models the machines. The networks' arithmetic and parameters are counted in
their traced programs. With k updates of D and one of G, a step has

    F        = B ((k + 3) F_G + (6 k + 2) F_D)        FLOPs for a global batch B
    messages = k times 4 P_D, once 4 P_G, and k + 2 times 8 C for each batch norm with C channels

F_G and F_D are the FLOPs of one forward pass per image. An update of D runs G forwards, and D
forwards and backwards (3 F_D) on one real and one fake image. An update of G costs 3 F_G, and in D
one forward pass and the gradient for its input (2 F_D). P_D and P_G count parameters, whose float32
gradients are averaged. Batch norm, only in G, averages a sum and a sum of squares per channel in
each of k + 1 forward passes, and as much once in the backward pass.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from sagan.bench import setup
from sagan.config import Config, ConfigError, presets
from sagan.config.fields import require
from sagan.launch.cost import Nodes, Prediction, Torus, h100, predict, tpu_v4
from sagan.models.layers import conv
from sagan.parallel import flops

# An assumption: the fraction of the peak that convolutions of this size reach. The option --bench
# replaces it by a measured one.
UTILISATION = 0.3
NUM_CLASSES = 1000  # for presets whose number of classes is that of their data
IMAGES_PER_CHIP = 32  # in the last column of the table


class Work(NamedTuple):
    """The size of one network.

    Attributes:
      flops: of one forward pass of one image; a product and a sum are 2.
      batch_norms: channels of each batch norm.
    """

    parameters: int
    flops: float
    batch_norms: tuple[int, ...] = ()


def works(config: Config) -> tuple[Work, Work]:
    """Returns the sizes of a config's generator and discriminator; `num_classes` must be known.

    Each convolution counts by its definition, 9 products for each pixel and pair of channels if it
    is 3x3, although `sagan/models/layers/conv.py` computes some of them with fewer.
    """
    generator, discriminator, variables = setup.sizes(config)
    model: Any = config.model
    size, classes = model.image_size, model.num_classes
    z = jax.ShapeDtypeStruct((1, model.z_dim), jnp.float32)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    label = None if classes is None else jax.ShapeDtypeStruct((1,), jnp.int32)
    batch_norms = [
        math.prod(x.shape)
        for path, x in jax.tree_util.tree_leaves_with_path(variables["g"]["batch_stats"])
        if "mean" in jax.tree_util.keystr(path[-1:])
    ]
    return (
        _work(generator, variables["g"], z, label, tuple(batch_norms)),
        _work(discriminator, variables["d"], image, label),
    )


def _work(
    network: Any, variables: Any, x: Any, label: Any, batch_norms: tuple[int, ...] = ()
) -> Work:
    def forward(variables: Any, x: Any, label: Any) -> Any:
        with nn.intercept_methods(_by_definition):
            return network.apply(variables, x, label, train=False)

    count = flops.matmuls(flops.jaxpr_of(forward, variables, x, label))
    parameters = sum(math.prod(x.shape) for x in jax.tree.leaves(variables["params"]))
    return Work(parameters, count, batch_norms)


def _by_definition(call: Any, arguments: Any, keywords: Any, context: Any) -> Any:
    """Replaces a convolution layer by a plain convolution; a Flax method interceptor.

    Our layers fuse convolutions with resizing, which saves products; but the fraction of the peak
    is computed from the products of the plain convolution, as papers do.
    """
    layer = context.module
    if not isinstance(layer, (conv.Conv, conv.UpConv, conv.ConvPool)):
        return call(*arguments, **keywords)
    (x,) = arguments
    x = conv.upsample(x) if isinstance(layer, conv.UpConv) else x
    kernel = layer.get_variable("params", "kernel").astype(x.dtype)
    layout = ("NHWC", "HWIO", "NHWC")
    y = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
    return conv.average_pool(y) if isinstance(layer, conv.ConvPool) else y


def predicted(
    machine: Torus | Nodes,
    networks: tuple[Work, Work],
    *,
    batch_size: int,
    d_steps: int,
    utilisation: float,
    flops_per_image: float | None = None,
) -> Prediction:
    """Predicts one step: `d_steps` updates of D and one of G.

    Args:
      networks: generator and discriminator.
      batch_size: global, per update of either network.
      flops_per_image: of a step, if it was measured; otherwise it follows from the networks.
    """
    (g, d), k = networks, d_steps
    per_image = flops_per_image or (k + 3) * g.flops + (6 * k + 2) * d.flops
    gradients = [4.0 * d.parameters] * k + [4.0 * g.parameters]
    statistics = [8.0 * channels for channels in g.batch_norms] * (k + 2)
    messages = gradients + statistics
    flops = batch_size * per_image
    return predict(machine, flops=flops, messages=messages, utilisation=utilisation)


def table(config: Config, *, batch_size: int, **options: Any) -> str:
    """Returns the predictions as Markdown, for a fixed global batch and a fixed batch per chip.

    Args:
      options: of `predicted`.
    """
    networks = works(config)
    machines: list[Torus | Nodes] = [tpu_v4(cores) for cores in (8, 16, 32, 64, 128)]
    machines += [h100(count) for count in (8, 16, 32, 64)]
    head = ["predicted", "chips", "batch", "step ms", "of it communication ms", "real images/s"]
    head += ["efficiency", f"efficiency at {IMAGES_PER_CHIP} images a chip"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for machine in machines:
        sizes = batch_size, IMAGES_PER_CHIP * machine.devices
        fixed, grown = (predicted(machine, networks, batch_size=n, **options) for n in sizes)
        seconds = fixed.math + fixed.communication
        lines.append(
            f"| {machine.name} | {machine.devices} | {batch_size} "
            f"| {1e3 * seconds:.1f} | {1e3 * fixed.communication:.2f} "
            f"| {batch_size * options['d_steps'] / seconds:,.0f} "
            f"| {fixed.efficiency:.0%} | {grown.efficiency:.0%} |"
        )
    return "\n".join(lines)


def read_bench(path: Path) -> tuple[float, float | None]:
    """Returns FLOPs per image of the batch, and the fraction of the peak, from `sagan bench`.

    The fraction is None if the chip's peak is not known.

    Raises: ConfigError if the file is not the `--json` of one config.
    """
    try:
        bench = json.loads(path.read_text())
        train = bench["train"]
        steps_per_dispatch = round(train["seconds_median"] / train["seconds_per_step"])
        devices = int(bench["devices"].split()[0])
        per_image = train["flops_per_device"] * devices / (bench["batch_size"] * steps_per_dispatch)
        share = train.get("share_of_peak")
        return float(per_image), share if isinstance(share, float) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no output of `sagan bench --json`: {error!r}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the predictions for one preset; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sagan.bench.pods", description=main.__doc__)
    add = parser.add_argument
    add("preset", nargs="?", default="imagenet128", help="default: imagenet128")
    add("--batch-size", type=int, help="images in a global batch (default: the preset's)")
    add("--d-steps", type=int, help="updates of D per update of G (default: the preset's)")
    add("--utilisation", type=float, help=f"fraction of the peak reached (default {UTILISATION})")
    add("--flops-per-image", type=float, help="FLOPs of a step per image (default: counted)")
    add("--bench", type=Path, help="read the last two from a file of `sagan bench --json`")
    args = parser.parse_args(argv)
    try:
        config = presets.load(args.preset)
        if config.model.num_classes == "data":
            config = presets.override(config, [f"model.num_classes={NUM_CLASSES}"])
        measured = read_bench(args.bench) if args.bench else (args.flops_per_image, None)
        utilisation = args.utilisation or measured[1] or UTILISATION
        require(0 < utilisation <= 1, f"--utilisation {utilisation}; allowed: (0, 1]")
        printed = table(
            config,
            batch_size=args.batch_size or config.train.batch_size,
            d_steps=args.d_steps or getattr(config.train, "d_steps_per_g_step", 1),
            utilisation=utilisation,
            flops_per_image=measured[0],
        )
    except ConfigError as error:
        parser.error(str(error))
    print(printed)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
