"""BigGAN-PyTorch (ajbrock): `G.pth`, `G_ema.pth`, `D.pth`, their optimizers, `state_dict.pth`.

Both of its architectures: BigGAN, with or without a shared class vector and hierarchical latents
(its SAGAN and SNGAN are without), and BigGAN-deep. Batch norm: its default, `--mybn`, and
`--cross_replica`, whose evaluation on one device adds gains where training multiplies by them:
here they multiply.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sagan.config.fields import require
from sagan.models import biggan, biggan_deep
from sagan.tasks.gan.imports import found_in
from sagan.tasks.gan.imports.filling import Arrays, Filling, first_map
from sagan.tasks.gan.imports.found_in import Fields, Role
from sagan.tasks.gan.imports.layouts import Names, Places, fill

ITERATES = True  # its evaluation takes a power iteration before it uses sigma
_BLOCK_NAMES = Names(
    convs={"conv1": "conv1", "conv2": "conv2", "conv3": "conv3", "conv4": "conv4",
           "skip": "conv_sc"},
    norms={"norm1": "bn1", "norm2": "bn2", "norm3": "bn3", "norm4": "bn4"},
    attention={"query": "theta", "key": "phi", "value": "g", "output": "o"},
    gate="gamma",
)  # fmt: skip

# Settings that change images or logits, but neither names nor shapes; the values that are known.
_KNOWN = {
    "norm_style": ("bn",),
    "G_nl": ("relu", "inplace_relu", "ir"),
    "D_nl": ("relu", "inplace_relu", "ir"),
    "num_G_SV_itrs": (1,),
    "num_D_SV_itrs": (1,),
}


def role(arrays: Arrays) -> Role | None:
    """Returns whose weights these are; None if they are not this project's."""
    if "linear.weight" not in arrays:
        return None
    if any(key.startswith("output_layer.") for key in arrays):
        return "generator"
    return "discriminator" if "embed.weight" in arrays else None


def settings_beside(path: Path) -> Path | None:
    """Returns the file of settings that the project writes beside one of weights."""
    name = path.name.removeprefix("G_ema").removeprefix("G").removeprefix("D")
    return path.with_name(f"state_dict{name}")


def step(settings: Mapping[str, Any], path: Path) -> int:
    """Returns the number of updates of the generator."""
    return int(settings.get("itr", 0))


def fields(g: Arrays, d: Arrays | None, settings: Mapping[str, Any]) -> Fields:
    """Works out the section `model` from names and shapes.

    Raises: ConfigError if a key is missing that tells, or no such network is known.
    """
    config = settings.get("config", settings)
    for name, allowed in _KNOWN.items():
        require(
            config.get(name, allowed[0]) in allowed,
            f"the settings of the source have {name}={config.get(name)!r}; known: "
            f"{', '.join(map(str, allowed))}",
        )
    is_deep = "blocks.0.0.conv4.weight" in g
    has_shared = "shared.weight" in g
    spectral = "linear.u0" in g
    converted = spectral and not any(key.endswith(".sv0") for key in g)
    gain = found_in.shape(g, "blocks.0.0.bn1.gain.weight")
    (last,) = found_in.shape(g, "output_layer.0.gain")
    inputs = found_in.shape(g, "linear.weight")[1]
    shared = found_in.shape(g, "shared.weight") if has_shared else (gain[0], 0)
    found: Fields = {
        "name": "biggan_deep" if is_deep else "biggan",
        "num_classes": shared[0],
        "shared_dim": shared[1],
        "spectral_norm_g": spectral,
        # The weights that were converted from the authors' own need 1e-4.
        "batch_norm_epsilon": config.get("BN_eps", 1e-4 if converted else 1e-5),
        "init": "orthogonal",
    }
    numbers = found_in.numbers(g, r"blocks\.(\d+)\.0\.")
    if is_deep:
        size, depth = found_in.deep_size(g, [f"blocks.{n}.0.conv{{}}.weight" for n in numbers],
                                         (32, 64, 128, 256))  # fmt: skip
        found |= {"image_size": size, "g_depth": depth, "z_dim": inputs - shared[1]}
        g_widths = biggan_deep.WIDTHS[size].g
        blocks_of_map = depth
    else:
        size = 4 << len(numbers)
        g_widths = found_in.widths(biggan.WIDTHS, size).g
        chunk = gain[1] - shared[1] if has_shared else 0
        found |= {
            "image_size": size,
            "hierarchical": chunk > 0,
            "z_dim": chunk * (1 + len(numbers)) if chunk > 0 else inputs,
            "output_norm_epsilon": 1e-5,  # whatever --BN_eps is
        }
        blocks_of_map = 1
    found["g_channels"] = last // g_widths[-1]
    attended = found_in.numbers(g, r"blocks\.(\d+)\.1\.")
    found["attention"] = tuple(4 << (1 + n // blocks_of_map) for n in attended)
    return found | (_of_discriminator(d, found) if d is not None else {})


def _of_discriminator(d: Arrays, found: Fields) -> Fields:
    size = found["image_size"]
    features = found_in.shape(d, "linear.weight")[1]
    more: Fields = {"spectral_norm_d": "linear.u0" in d}
    if found["name"] == "biggan_deep":
        widths = biggan_deep.WIDTHS[size]
        depth = len(found_in.numbers(d, r"blocks\.0\.(\d+)\.conv"))
        attended = found_in.numbers(d, rf"blocks\.(\d+)\.{depth}\.")
        more["d_depth"] = depth
    else:
        widths = biggan.WIDTHS[size]
        attended = found_in.numbers(d, r"blocks\.(\d+)\.1\.")
        is_thin = found_in.shape(d, "blocks.0.0.conv1.weight")[0] == 3
        more["d_hidden"] = "input" if is_thin else "output"
    more["d_channels"] = features // widths.d[-1]
    sizes = dict.fromkeys(size >> min(n + 1, widths.d_down) for n in attended)
    return more | found_in.attention_d(found, tuple(sizes))


def fill_generator(filling: Filling, model: Any) -> None:
    """Fills the generator of a config that `fields` has found."""
    sizes = [4 << n for n in range(1, 9)]
    if model.name == "biggan_deep":
        depth, stages = model.g_depth, len(biggan_deep.WIDTHS[model.image_size].g) - 1
        flat = [(s, n) for s in range(stages) for n in range(depth)]
        blocks = {f"block{s + 1}_{n + 1}": f"blocks.{s * depth + n}.0" for s, n in flat}
        prefixes = {sizes[s]: f"blocks.{s * depth + depth - 1}.1" for s in range(stages)}
    else:
        count = len(biggan.WIDTHS[model.image_size].g)
        blocks = {f"block{n + 1}": f"blocks.{n}.0" for n in range(count)}
        prefixes = {sizes[n]: f"blocks.{n}.1" for n in range(count)}
    layers = {"linear": "linear", "output": "output_layer.2"}
    attention = {f"attention_{size}": prefixes[size] for size in model.attention}
    places = Places(layers, blocks, attention)
    fill(filling, _BLOCK_NAMES, places, _norm, rows={"linear": first_map(4)})
    filling.plain("shared.weight", "shared/table")
    filling.plain("output_layer.0.gain", "norm/scale")
    filling.plain("output_layer.0.bias", "norm/bias")
    _statistics(filling, "output_layer.0", "norm")


def _norm(filling: Filling, theirs: str, ours: str) -> None:
    for name, part in (("gain", "scale"), ("bias", "bias")):
        if filling.needs(f"{ours}/{part}/kernel"):
            filling.layer(f"{theirs}.{name}", f"{ours}/{part}")
        else:
            plus = 1 if name == "gain" else 0
            filling.table(f"{theirs}.{name}", f"{ours}/{part}", turned=False, plus=plus)
    _statistics(filling, theirs, ours)


def _statistics(filling: Filling, theirs: str, ours: str) -> None:
    for mean, var in (
        ("stored_mean", "stored_var"),
        ("bn.stored_mean", "bn.stored_var"),
        ("bn.running_mean", "bn.running_var"),
    ):
        # With --mybn, standing statistics are sums over as many batches as the counter says.
        counter = f"{theirs}.bn.accumulation_counter"
        filling.statistics(f"{theirs}.{mean}", f"{theirs}.{var}", ours, divisor=counter)
    filling.drop(f"{theirs}.bn.num_batches_tracked")


def fill_discriminator(filling: Filling, model: Any) -> None:
    """Fills the discriminator of a config that `fields` has found."""
    layers = {"head": "linear"}
    if model.name == "biggan_deep":
        widths, depth = biggan_deep.WIDTHS[model.image_size], model.d_depth
        stages = range(len(widths.d) - 1)
        layers["input"] = "input_conv"
        blocks = {f"block{s + 1}_{n + 1}": f"blocks.{s}.{n}" for s in stages for n in range(depth)}
        prefixes = [f"blocks.{s}.{depth}" for s in stages]
    else:
        widths = biggan.WIDTHS[model.image_size]
        blocks = {f"block{n + 1}": f"blocks.{n}.0" for n in range(len(widths.d))}
        prefixes = [f"blocks.{n}.1" for n in range(len(widths.d))]
    attention = found_in.first_of_sizes(model, widths.d_down, prefixes)
    fill(filling, _BLOCK_NAMES, Places(layers, blocks, attention))
    filling.embedding("embed", "projection/embedding")
