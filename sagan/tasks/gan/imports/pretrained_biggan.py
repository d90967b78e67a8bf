"""pytorch-pretrained-BigGAN (huggingface): the authors' BigGAN-deep of 128, 256 and 512 px.

A generator alone: `pytorch_model.bin` and `config.json`. Each norm has statistics for truncations
from 0 to 1 in equal steps; sampling takes those of its own, see `model.statistics_sets`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sagan.config import ConfigError
from sagan.models import biggan_deep
from sagan.tasks.gan.imports import found_in
from sagan.tasks.gan.imports.filling import Arrays, Change, Filling
from sagan.tasks.gan.imports.found_in import Fields, Role
from sagan.tasks.gan.imports.layouts import Names, Places, fill
from sagan.tasks.gan.imports.power import converged_u

ITERATES = False  # its evaluation uses the stored vectors as they are
_BLOCK_NAMES = Names(
    convs={f"conv{n}": f"conv_{n - 1}" for n in (1, 2, 3, 4)},
    norms={f"norm{n}": f"bn_{n - 1}" for n in (1, 2, 3, 4)},
    attention={"query": "snconv1x1_theta", "key": "snconv1x1_phi", "value": "snconv1x1_g",
               "output": "snconv1x1_o_conv"},
    gate="gamma",
)  # fmt: skip
_BLOCK = r"generator\.layers\.(\d+)\.(conv|bn)_"
_ATTENTION = r"generator\.layers\.(\d+)\.snconv1x1_"


def role(arrays: Arrays) -> Role | None:
    """Returns whose weights these are; None if they are not this project's."""
    return "generator" if any(key.startswith("generator.gen_z.") for key in arrays) else None


def settings_beside(path: Path) -> Path | None:
    """Returns the file of settings that the project writes beside one of weights."""
    prefix = path.name.removesuffix(path.suffix).removesuffix("pytorch_model").removesuffix("model")
    return path.with_name(f"{prefix}config.json")


def step(settings: Mapping[str, Any], path: Path) -> int:
    """Returns 0, since the files do not tell."""
    return 0


def fields(g: Arrays, d: Arrays | None, settings: Mapping[str, Any]) -> Fields:
    """Works out the section `model` from names and shapes.

    Raises: ConfigError if a key is missing that tells, or no such network is known.
    """
    assert d is None
    embedded, classes = found_in.shape(g, "embeddings.weight")
    (last,) = found_in.shape(g, "generator.bn.weight")
    numbers = found_in.numbers(g, _BLOCK)
    convs = [f"generator.layers.{n}.conv_{{}}.weight" for n in numbers]
    size, depth = _size(g, convs)
    attended = [n - i for i, n in enumerate(found_in.numbers(g, _ATTENTION))]
    return {
        "name": "biggan_deep",
        "image_size": size,
        "num_classes": classes,
        "z_dim": found_in.shape(g, "generator.gen_z.weight")[1] - embedded,
        "shared_dim": embedded,
        "g_channels": last // biggan_deep.WIDTHS[size].g[-1],
        "g_depth": depth,
        "attention": tuple(4 << (n // depth) for n in attended),
        "batch_norm_epsilon": settings.get("eps", 1e-4),
        "statistics_sets": found_in.shape(g, "generator.bn.running_means")[0],
        "init": "orthogonal",
    }


def _size(g: Arrays, convs: list[str]) -> tuple[int, int]:
    """As `found_in.deep_size`, for convolutions that are counted from 0."""
    renamed = {}
    for conv in convs:
        for theirs, ours in ((0, 1), (3, 4)):
            renamed[conv.format(f"of {ours}")] = g[found_in.key(g, conv.format(theirs))]
    return found_in.deep_size(renamed, [c.replace("{}", "of {}") for c in convs], (128, 256, 512))


def fill_generator(filling: Filling, model: Any) -> None:
    """Fills the generator of a config that `fields` has found."""
    depth, stages = model.g_depth, len(biggan_deep.WIDTHS[model.image_size].g) - 1
    blocks, attention, number = {}, {}, 0
    for stage in range(1, stages + 1):
        for n in range(1, depth + 1):
            blocks[f"block{stage}_{n}"] = f"generator.layers.{number}"
            number += 1
        if 4 << stage in model.attention:
            attention[f"attention_{4 << stage}"] = f"generator.layers.{number}"
            number += 1
    columns = _class_first(model.z_dim)

    def norm(filling: Filling, theirs: str, ours: str) -> None:
        filling.layer(f"{theirs}.scale", f"{ours}/scale", columns=columns)
        filling.layer(f"{theirs}.offset", f"{ours}/bias", columns=columns)
        filling.statistics(f"{theirs}.running_means", f"{theirs}.running_vars", ours)

    layers = {"linear": "generator.gen_z", "output": "generator.conv_to_rgb"}
    # The last convolution has many outputs. Its sigma is over all of them; three are colours.
    fill(filling, _BLOCK_NAMES, Places(layers, blocks, attention), norm,
         rows={"output": lambda x: x[:3]}, columns={"linear": columns})  # fmt: skip
    if "output/kernel" in filling.network.u:
        kernel = np.asarray(filling.network.params["output/kernel"])
        filling.network.u["output/kernel"] = converged_u(kernel)
    filling.plain("embeddings.weight", "shared/table", np.transpose)
    filling.plain("generator.bn.weight", "norm/scale")
    filling.plain("generator.bn.bias", "norm/bias")
    filling.statistics("generator.bn.running_means", "generator.bn.running_vars", "norm")
    filling.drop("num_batches_tracked")


def fill_discriminator(filling: Filling, model: Any) -> None:
    """Raises: ConfigError, since the project has none."""
    raise ConfigError("pytorch-pretrained-BigGAN has no discriminator")


def _class_first(z_dim: int) -> Change:
    """Returns what moves the class vector, behind the latents in the source, to the front."""
    return lambda rows: np.concatenate([rows[z_dim:], rows[:z_dim]])
