"""StudioGAN (POSTECH-CVLab): `model=G_ema-best-weights-step=N.pth` and the like.

SNGAN and SAGAN (its backbone `resnet`), BigGAN (`big_resnet`) and BigGAN-deep
(`big_resnet_deep_legacy`). Its discriminators' ReLU overwrites the input of a block, so the skips
take the positive part (`model.d_skip=relu`).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sagan.config.fields import require
from sagan.models import biggan_deep, sagan
from sagan.tasks.gan.imports import found_in
from sagan.tasks.gan.imports.filling import Arrays, Filling, first_map
from sagan.tasks.gan.imports.found_in import Fields, Role
from sagan.tasks.gan.imports.layouts import Names, Places, fill

ITERATES = True  # its evaluation runs these layers as in training
_BLOCK_NAMES = Names(
    convs={"conv1": "conv2d1", "conv2": "conv2d2", "conv3": "conv2d3", "conv4": "conv2d4",
           "skip": "conv2d0"},
    norms={"norm1": "bn1", "norm2": "bn2", "norm3": "bn3", "norm4": "bn4"},
    attention={"query": "conv1x1_theta", "key": "conv1x1_phi", "value": "conv1x1_g",
               "output": "conv1x1_attn"},
    gate="sigma",
)  # fmt: skip
_BLOCK, _ATTENTION = r"blocks\.(\d+)\.0\.(?!conv1x1_|sigma$)", r"blocks\.(\d+)\.0\.conv1x1_"


def role(arrays: Arrays) -> Role | None:
    """Returns whose weights these are; None if they are not this project's."""
    stems = {key.split(".")[0] for key in arrays}
    if "linear0" in stems:
        return "generator"
    return "discriminator" if "linear1" in stems and "blocks" in stems else None


def settings_beside(path: Path) -> Path | None:
    """Returns None: the project writes no settings beside weights that are read here."""
    return None


def step(settings: Mapping[str, Any], path: Path) -> int:
    """Returns the number of updates of the generator."""
    named = re.search(r"step=(\d+)", path.name)
    return int(settings.get("step", named[1] if named else 0))


def fields(g: Arrays, d: Arrays | None, settings: Mapping[str, Any]) -> Fields:
    """Works out the section `model` from names and shapes.

    Raises: ConfigError if a key is missing that tells, or no such network is known.
    """
    numbers = found_in.numbers(g, _BLOCK)
    (last,) = found_in.shape(g, "bn4.weight")
    inputs = found_in.shape(g, "linear0.weight")[1]
    found: Fields = {
        "spectral_norm_g": "linear0.weight_orig" in g,
        "batch_norm_epsilon": 1e-4,
        "init": "orthogonal",
    }
    depth = 1
    if _has(g, "blocks.0.0.conv2d4.weight"):
        classes, shared = found_in.shape(g, "shared.weight")
        require(
            not _has(g, "blocks.0.0.conv2d0.weight"),
            "a BigGAN-deep of StudioGAN's own kind (big_resnet_deep_studiogan), whose skips have "
            "convolutions; allowed: big_resnet_deep_legacy",
        )
        size, depth = found_in.deep_size(g, [f"blocks.{n}.0.conv2d{{}}.weight" for n in numbers],
                                         (32, 128, 256, 512))  # fmt: skip
        g_last = biggan_deep.WIDTHS[size].g[-1]
        found |= {"name": "biggan_deep", "g_depth": depth, "z_dim": inputs - shared}
        found |= {"num_classes": classes, "shared_dim": shared}
    else:
        size = 4 << len(numbers)
        g_last = found_in.widths(sagan.WIDTHS, size).g[-1]
        found |= _of_residual(g, inputs, len(numbers))
    found |= {"image_size": size, "g_channels": last // g_last}
    attended = [n - i for i, n in enumerate(found_in.numbers(g, _ATTENTION))]  # blocks before each
    found["attention"] = tuple(4 << (n // depth) for n in attended)
    return found | (_of_discriminator(d, found) if d is not None else {})


def _of_residual(g: Arrays, inputs: int, blocks: int) -> Fields:
    if "shared.weight" in g:
        classes, shared = found_in.shape(g, "shared.weight")
        z_dim = inputs * (1 + blocks)
        widths = {"widths": "studiogan", "hierarchical": True}
        return {"name": "biggan", "num_classes": classes, "shared_dim": shared, "z_dim": z_dim,
                **widths}  # fmt: skip
    if _has(g, "blocks.0.0.bn1.gain.weight"):
        classes = found_in.shape(g, "blocks.0.0.bn1.gain.weight")[1]
    elif "blocks.0.0.bn1.weight" in g:
        classes = None
    else:
        classes = found_in.shape(g, "blocks.0.0.bn1.embed0.weight")[0]
    return {"name": "sagan", "num_classes": classes, "z_dim": inputs}


def _of_discriminator(d: Arrays, found: Fields) -> Fields:
    size, is_deep = found["image_size"], found["name"] == "biggan_deep"
    widths = (biggan_deep.WIDTHS if is_deep else sagan.WIDTHS)[size]
    spectral = "linear1.weight_orig" in d
    depth = 1
    more: Fields = {
        "spectral_norm_d": spectral,
        "d_skip": "relu" if spectral else "input",
        "d_channels": found_in.shape(d, "linear1.weight")[1] // widths.d[-1],
    }
    if is_deep:
        depth = len(found_in.numbers(d, _BLOCK)) // (len(widths.d) - 1)
        more["d_depth"] = depth
    attended = [n - i for i, n in enumerate(found_in.numbers(d, _ATTENTION))]
    sizes = tuple(size >> min(n // depth, widths.d_down) for n in attended)
    return more | found_in.attention_d(found, sizes)


def fill_generator(filling: Filling, model: Any) -> None:
    """Fills the generator of a config that `fields` has found."""
    is_deep = model.name == "biggan_deep"
    table = (biggan_deep if is_deep else sagan).WIDTHS[model.image_size]
    stages = len(table.g) - is_deep
    sizes = {f"attention_{4 << s}": s for s in range(1, stages + 1) if 4 << s in model.attention}
    blocks, attention = _places(stages, model.g_depth if is_deep else 0, sizes)
    places = Places({"linear": "linear0", "output": "conv2d5"}, blocks, attention)
    fill(filling, _BLOCK_NAMES, places, _norm, rows={"linear": first_map(4)})
    filling.plain("shared.weight", "shared/table")
    _plain_norm(filling, "bn4", "norm")


def _places(stages: int, depth: int, attended: dict[str, int]) -> tuple[dict, dict]:
    """Numbers the blocks of a network, among which attention is one of its own.

    Args:
      depth: blocks of a stage; 0: one, of a residual network.
      attended: our name of each attention, and the number of the stage before it.
    """
    blocks, attention, number = {}, {}, 0
    for stage in range(1, stages + 1):
        for n in range(1, (depth or 1) + 1):
            blocks[f"block{stage}_{n}" if depth else f"block{stage}"] = f"blocks.{number}.0"
            number += 1
        for name, before in attended.items():
            if before == stage:
                attention[name] = f"blocks.{number}.0"
                number += 1
    return blocks, attention


def _norm(filling: Filling, theirs: str, ours: str) -> None:
    if filling.has(f"{theirs}.weight"):
        _plain_norm(filling, theirs, ours)
        return
    for name, older, part in (("gain", "embed0", "scale"), ("bias", "embed1", "bias")):
        if filling.needs(f"{ours}/{part}/kernel"):
            filling.layer(f"{theirs}.{name}", f"{ours}/{part}")
            continue
        plus = 1 if name == "gain" else 0
        filling.table(f"{theirs}.{name}", f"{ours}/{part}", turned=True, plus=plus)
        filling.table(f"{theirs}.{older}", f"{ours}/{part}", turned=False, plus=plus)
    filling.statistics(f"{theirs}.bn.running_mean", f"{theirs}.bn.running_var", ours)
    filling.drop(f"{theirs}.bn.num_batches_tracked")


def _plain_norm(filling: Filling, theirs: str, ours: str) -> None:
    filling.plain(f"{theirs}.weight", f"{ours}/scale")
    filling.plain(f"{theirs}.bias", f"{ours}/bias")
    filling.statistics(f"{theirs}.running_mean", f"{theirs}.running_var", ours)
    filling.drop(f"{theirs}.num_batches_tracked")


def fill_discriminator(filling: Filling, model: Any) -> None:
    """Fills the discriminator of a config that `fields` has found."""
    is_deep = model.name == "biggan_deep"
    widths = (biggan_deep if is_deep else sagan).WIDTHS[model.image_size]
    stages = len(widths.d) - is_deep
    sizes: dict[str, int] = {}
    for stage in range(1, stages + 1):
        size = model.image_size >> min(stage, widths.d_down)
        if size in model.discriminator_attention:
            sizes.setdefault(f"attention_{size}", stage)
    blocks, attention = _places(stages, model.d_depth if is_deep else 0, sizes)
    layers = {"head": "linear1"} | ({"input": "input_conv"} if is_deep else {})
    fill(filling, _BLOCK_NAMES, Places(layers, blocks, attention))
    filling.embedding("embedding", "projection/embedding")


def _has(arrays: Arrays, stem: str) -> bool:
    return stem in arrays or f"{stem}_orig" in arrays
