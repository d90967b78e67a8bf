"""A generator as files that others can use: a program that needs jax alone, or plain weights.

`write` makes a folder of either kind, `load` opens it again. Each has `config.json`, `export.json`
(step, classes) and `README.md`, which says where the images come from and how they scored.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export as jax_export

from sagan.config import Config, ConfigError, as_json, plugins, replace
from sagan.config.fields import require
from sagan.files import images
from sagan.files.atomic import replace_text
from sagan.parallel.platform import Platform
from sagan.tasks.gan import inference
from sagan.tasks.gan.sampler import Sampler

Format = Literal["stablehlo", "safetensors"]
PROGRAM, WEIGHTS, ABOUT = "generator.stablehlo", "model.safetensors", "export.json"
_PLATFORMS = ("cpu", "cuda", "tpu")
_PORTABLE = Platform("any", "", "")  # networks made for it use nothing that one platform lacks
_GRID = 8  # images in a row of the picture in the README

_GENERATE = '''"""Draws images: python generate.py [SEED]. Needs jax, flatbuffers and numpy."""

import sys
from pathlib import Path

import jax
import numpy as np
from jax import export

program = export.deserialize(bytearray((Path(__file__).parent / "{program}").read_bytes()))
z = jax.random.normal(jax.random.key(int((sys.argv[1:] or [0])[0])), ({num}, {z_dim}))
labels = np.arange({num}, dtype=np.int32) % {classes}
images = np.asarray(program.call({arguments}))  # uint8 (N, {size}, {size}, 3)
np.save("images.npy", images)
print("images.npy", images.shape)
'''


def write(
    sampler: Sampler,
    out: Path,
    format: Format,
    results: Mapping[str, Any] | None = None,
    *,
    use: str = "FOLDER",
) -> list[Path]:
    """Writes a generator and its statistics; returns the paths of the files.

    The config is written without `data.dir`, which says nothing to others.

    Args:
      out: a folder, made if it is not there.
      format: `stablehlo`: a program for CPU, CUDA and TPU that takes latents (N, z_dim) and labels
        (N,), for any N, and returns images uint8 (N, S, S, 3). `safetensors`: the variables, by
        the names that the networks give them.
      results: what `eval/<step>.json` holds of this step; None: the README says "not measured".
      use: where the README says that it is loaded from.

    Raises: ConfigError if the folder holds anything else than an earlier export.
    """
    sampler = dataclasses.replace(sampler, config=replace(sampler.config, data={"dir": None}))
    known = {PROGRAM, WEIGHTS, ABOUT, "config.json", "README.md", "samples.png", "generate.py"}
    there = {path.name for path in out.iterdir()} if out.is_dir() else set()
    require(not there - known, f"--out {out} has other files; allowed: a new or an empty folder")
    for name in there:
        (out / name).unlink()
    out.mkdir(parents=True, exist_ok=True)
    if format == "stablehlo":
        (out / PROGRAM).write_bytes(_program(sampler))
        model, names = sampler.config.model, sampler.class_names
        text = _GENERATE.format(
            program=PROGRAM, num=8, z_dim=sampler.z_dim, size=model.image_size,
            classes=len(names) or 1, arguments="z, labels" if names else "z",
        )  # fmt: skip
        replace_text(out / "generate.py", text)
    else:
        from safetensors.numpy import save_file

        flat: dict[str, Any] = flatten_dict(sampler.variables, sep=".")
        arrays = {name: np.array(array, order="C") for name, array in flat.items()}
        save_file(arrays, out / WEIGHTS, metadata={"format": "flax"})
    about = {"step": sampler.step, "class_names": sampler.class_names, "format": format}
    about |= {"origin": sampler.origin}
    replace_text(out / ABOUT, json.dumps(about, indent=2))
    replace_text(out / "config.json", as_json.to_json(sampler.config) + "\n")
    labels = None
    rows = len(sampler.class_names[:_GRID]) or _GRID
    if sampler.class_names:
        labels = np.repeat(np.arange(rows), _GRID)
    indices = np.arange(rows * _GRID) if labels is None else np.tile(np.arange(_GRID), rows)
    drawn = sampler.sample(labels=labels, indices=indices)
    scale = max(1, 64 // drawn.shape[1])
    images.save(out / "samples.png", images.grid(drawn, _GRID, scale=scale), {"step": sampler.step})
    replace_text(out / "README.md", _card(sampler, format, results, use))
    return sorted(path for path in out.iterdir() if path.name in known)


def _program(sampler: Sampler) -> bytes:
    """Returns a serialized program with the weights inside."""
    model: Any = sampler.config.model
    family = plugins.load("models", model.name, field="model.name")
    network = family.build(model, platform=_PORTABLE).generator
    variables = inference.at_truncation(model, sampler.variables, 1.0)

    def one(z: jax.Array, label: jax.Array | None) -> jax.Array:
        batch = None if label is None else label[None]
        image = network.apply(variables, z[None], batch, train=False)[0]
        return jax.numpy.clip(jax.numpy.round(127.5 * (image + 1)), 0, 255).astype("uint8")

    (count,) = jax_export.symbolic_shape("n")
    z = jax.ShapeDtypeStruct((count, model.z_dim), "float32")
    if model.num_classes is None:
        program: Any = jax.jit(jax.vmap(lambda z: one(z, None)))
        shapes = [z]
    else:
        program = jax.jit(jax.vmap(one))
        shapes = [z, jax.ShapeDtypeStruct((count,), "int32")]
    return bytes(jax_export.export(program, platforms=_PLATFORMS)(*shapes).serialize())


def load(folder: Path) -> Sampler:
    """Opens plain weights as a sampler.

    Raises: ConfigError if files are missing, damaged or do not fit the config; or if the folder
      holds a program, which this package is not needed for.
    """
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        config = as_json.from_json((folder / "config.json").read_text(encoding="utf-8"))
        step, names = int(about["step"]), tuple(map(str, about["class_names"]))
        origin = str(about.get("origin", ""))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{folder} is a damaged export: {error}") from error
    require(
        (folder / WEIGHTS).is_file(),
        f"{folder} has no {WEIGHTS}; a program (format=stablehlo) is run by its own generate.py",
    )
    return Sampler(config, step, names, _variables(folder / WEIGHTS, config), origin)


def _variables(path: Path, config: Config) -> Any:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path}: {error}") from error
    wanted: dict[str, Any] = flatten_dict(inference.abstract(config.model), sep=".")
    missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    require(
        not missing and not more,
        f"{path} does not fit config.json: missing {missing[:5]}, unknown {more[:5]}",
    )
    for name, shape in wanted.items():
        require(
            found[name].shape == shape.shape,
            f"{path}: {name} has shape {found[name].shape}; allowed: {shape.shape}",
        )
    variables = unflatten_dict({tuple(k.split(".")): v for k, v in found.items()})
    return {"params": variables["params"], "batch_stats": variables.get("batch_stats", {})}


def _card(sampler: Sampler, format: Format, results: Mapping[str, Any] | None, use: str) -> str:
    """Returns the README: what the generator is, how to use it, its scores and its config.

    It begins with what the Hugging Face Hub reads: how to find it.
    """
    config, names = sampler.config, sampler.class_names
    classes = f"{len(names)} classes" if names else "unconditional"
    history = (
        f"trained on `{config.data.name}` for {sampler.step:,} steps of "
        f"{config.train.batch_size} images"
    )
    if sampler.origin:
        history = f"whose weights were trained by {sampler.origin} (step {sampler.step:,})"
    lines = [
        "---",
        "pipeline_tag: unconditional-image-generation",
        f"tags: [sagan, gan, jax, {config.model.name}]",
        "---",
        "",
        f"# {config.name}",
        "",
        f"A `{config.model.name}` generator, {sampler.image_size} px, {classes}, {history}.",
        "",
        "![Samples](samples.png)",
        "",
        "## Use",
        "",
    ]
    if format == "stablehlo":
        lines += ["```bash", "pip install jax flatbuffers && python generate.py", "```"]
    else:
        call = "sample(classes=[0], num=4)" if names else "sample(num=4)"
        lines += ["```python", f'import sagan\n\nimages = sagan.load("{use}").{call}', "```"]
    lines += ["", "## Scores", ""]
    if results is None:
        lines.append("Not measured.")
    else:
        lines += ["| score | value |", "|---|---|"]
        lines += [f"| {name} | {value:.6g} |" for name, value in results["metrics"].items()]
        lines += ["", "Measured as follows:", "", "```json"]
        lines += [json.dumps(results["protocol"], indent=2), "```"]
    lines += ["", "## Config", "", "```json", as_json.to_json(config), "```"]
    return "\n".join(lines) + "\n"
