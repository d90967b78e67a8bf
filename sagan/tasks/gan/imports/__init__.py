"""Weights that other projects trained: one file per project, and what turns them into a run.

A project's file defines

    ITERATES                                 # see `filling.Filling`
    role(arrays) -> "generator", "discriminator" or None
    settings_beside(path) -> Path or None    # a file of settings that the project writes
    step(settings, path) -> int
    fields(generator, discriminator or None, settings) -> fields of the section `model`
    fill_generator(filling, model), fill_discriminator(filling, model)

| file | what it holds |
|---|---|
| `opening.py` | reads torch's files, safetensors and JSON |
| `filling.py` | layouts of arrays, spectral norm, what was not used or filled |
| `power.py` | power iterations |
| `layouts.py` | how networks are put together |
| `found_in.py` | what names and shapes say about the network |
| `optimizers.py` | the moments of Adam |
"""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from sagan import data
from sagan.config import Config, ConfigError, make, plugins, presets
from sagan.config.fields import closest, require
from sagan.tasks.gan.imports import opening, optimizers
from sagan.tasks.gan.imports.filling import Filling, Network, Shapes
from sagan.tasks.gan.imports.found_in import Role
from sagan.tasks.gan.imports.opening import File
from sagan.tasks.gan.imports.optimizers import Moments

KINDS = ("biggan_pytorch", "studiogan", "pretrained_biggan")


class Imported(NamedTuple):
    """Networks of another project as a run of this one.

    Attributes:
      step: updates of the generator, as far as the source tells.
      average: of the generator, for sampling; the generator itself if the source has none.
      moments: of Adam, by `g` and `d`.
      rows: what became of each array; see `filling.table`.
    """

    kind: str
    config: Config
    step: int
    class_names: tuple[str, ...]
    generator: Network
    average: Network
    discriminator: Network | None
    moments: dict[str, Moments]
    rows: list[tuple[str, str, str]]


class _Sources(NamedTuple):
    generator: File
    average: File | None
    discriminator: File | None
    optimizers: dict[str, Mapping[str, Any]]
    settings: dict[str, Any]


def read(kind: str, paths: Sequence[Path], words: Sequence[str] = ()) -> Imported:
    """Reads files that another project has written. Nothing in them is executed.

    Args:
      kind: one of `KINDS`.
      paths: of weights, and of settings and optimizers if there are any.
      words: `section.field=value` for what the files leave open. With `data.dir`, or another
        `data.name`, the names of the classes are those of the data; else they are numbers.

    Raises: ConfigError for a file that is damaged, would run code, or is of another project; for
      networks that are not known; and listing all arrays that were not used, parameters that were
      not filled, and shapes that do not fit.
    """
    require(kind in KINDS, f"no kind {kind!r}{closest(kind, KINDS)}; kinds: {', '.join(KINDS)}")
    project: Any = _project(kind)
    files = [opening.read(path) for path in paths]
    sources = _sorted(kind, project, files)
    generator, discriminator = sources.generator, sources.discriminator
    d_arrays = None if discriminator is None else discriminator.arrays
    model = project.fields(generator.arrays, d_arrays, sources.settings)
    step = project.step(sources.settings, generator.path)
    config = presets.override(_config(kind, model, step), words)
    shapes = _shapes(config)
    fillings: dict[str, Filling] = {}
    orders = {"g": list(generator.arrays), "d": list(d_arrays or ())}
    for name, file in (("g", generator), ("ema", sources.average), ("d", discriminator)):
        if file is not None:
            needed = shapes["d" if name == "d" else "g"]
            filling = Filling(name, file.arrays, *needed, iterates=project.ITERATES)
            fill = project.fill_discriminator if name == "d" else project.fill_generator
            fill(filling, config.model)
            fillings[name] = filling
    problems = [text for filling in fillings.values() for text in filling.problems()]
    require(
        not problems, f"{', '.join(map(str, paths))} is not {kind}'s, whole: " + "; ".join(problems)
    )
    networks = {name: filling.network for name, filling in fillings.items()}
    for player in sources.optimizers.keys() - networks.keys():
        raise ConfigError(f"an optimizer of {player}, but no such network; needed: both or neither")
    moments = {
        player: optimizers.read(state, networks[player], orders[player])
        for player, state in sources.optimizers.items()
    }
    return Imported(
        kind,
        optimizers.with_rates(config, moments, words),
        step,
        _class_names(config, words),
        networks["g"],
        networks.get("ema", networks["g"]),
        networks.get("d"),
        moments,
        [row for filling in fillings.values() for row in filling.rows],
    )


def _project(kind: str) -> Any:
    return importlib.import_module(f"{__name__}.{kind}")


def _sorted(kind: str, project: Any, files: Sequence[File]) -> _Sources:
    """Finds out what each file holds.

    Raises: ConfigError if one is of another kind, there is no generator, or too many of one sort.
    """
    found: dict[str, File] = {}
    states: dict[str, Mapping[str, Any]] = {}
    settings: dict[str, Any] = {}

    def keep(name: str, file: File) -> None:
        if name in found:
            raise ConfigError(
                f"{found[name].path} and {file.path}: both are the {name}; allowed: one of each, "
                "and one with `ema` in its name for the averaged generator"
            )
        found[name] = file

    def keep_optimizer(player: str, state: Mapping[str, Any], path: Path) -> None:
        require(
            player not in states,
            f"{path} is another optimizer of {player}; allowed: one, and one of the discriminator, "
            "whose name begins with D",
        )
        states[player] = state

    for file in files:
        role: Role | None = project.role(file.arrays)
        if role == "generator" and "ema" in file.path.name.lower():
            keep("averaged generator", file)
        elif role is not None:
            keep(role, file)
            if file.others.get("optimizer"):
                player = "g" if role == "generator" else "d"
                keep_optimizer(player, file.others["optimizer"], file.path)
        elif file.arrays:
            raise ConfigError(f"{file.path} is not {kind}'s{_belongs(file)}")
        elif "param_groups" in file.others:
            player = "d" if file.path.name.lower().startswith("d") else "g"
            keep_optimizer(player, file.others, file.path)
        if role is not None or "param_groups" not in file.others:
            settings |= {k: v for k, v in file.others.items() if k != "optimizer"}
    average = found.get("averaged generator")
    generator = found.get("generator", average)
    if generator is None:
        raise ConfigError(
            f"no generator in {', '.join(str(file.path) for file in files)}; needed: one, and if "
            "there is one, its discriminator and its settings beside it"
        )
    beside = project.settings_beside(generator.path)
    if beside is not None and beside.is_file():
        settings = dict(opening.read(beside).others) | settings
    if average is generator:
        average = None
    return _Sources(generator, average, found.get("discriminator"), states, settings)


def _belongs(file: File) -> str:
    others = [kind for kind in KINDS if _project(kind).role(file.arrays) is not None]
    some = ", ".join(list(file.arrays)[:4])
    return f", but {' or '.join(others)}'s" if others else f", nor another kind's; it has {some}, …"


def _config(kind: str, model: Mapping[str, Any], step: int) -> Config:
    """Returns a complete config, with data that the project's networks of this size learn."""
    size, classes = model["image_size"], model["num_classes"]
    known = {(32, 10): {"name": "tfds/cifar10"}}
    imagenet = {"name": "tfds/imagenet2012"}
    return make(
        name=f"{kind}_{model['name']}_{size}",
        data=imagenet if classes == 1000 else known.get((size, classes), {"name": "folder"}),
        model=dict(model),
        train={"steps": max(step, 1)},
        # The source's own statistics are those that images are drawn with.
        checkpoint={"statistics_batches": 0},
    )


def _shapes(config: Config) -> dict[str, tuple[Shapes, Shapes]]:
    """Returns the shapes of parameters and batch statistics of both networks, by path."""
    model: Any = dataclasses.replace(config.model, init="normal")  # the fastest to trace
    networks = plugins.load("models", model.name, field="model.name").build(model)
    label = None if model.num_classes is None else jnp.zeros(1, jnp.int32)
    size = model.image_size
    inputs = {"g": jnp.zeros((1, model.z_dim)), "d": jnp.zeros((1, size, size, 3))}
    sets = getattr(model, "statistics_sets", None)
    found = {}
    for name, network in (("g", networks.generator), ("d", networks.discriminator)):

        def init(network: Any = network, x: Any = inputs[name]) -> dict[str, Any]:
            return dict(network.init(jax.random.key(0), x, label, train=True))

        made = jax.eval_shape(init)
        flat: list[dict[str, Any]] = [
            flatten_dict(made.get(part, {}), sep="/") for part in ("params", "batch_stats")
        ]
        params, statistics = ({path: x.shape for path, x in part.items()} for part in flat)
        if sets is not None:
            statistics = {path: (sets, *shape) for path, shape in statistics.items()}
        found[name] = params, statistics
    return found


def _class_names(config: Config, words: Sequence[str]) -> tuple[str, ...]:
    count: Any = config.model.num_classes
    if count is None:
        return ()
    if not any(word.startswith(("data.dir=", "data.name=")) for word in words):
        return tuple(map(str, range(count)))
    names = tuple(data.load(config.data, config.model.image_size).class_names)
    require(
        len(names) == count,
        f"the data have {len(names)} classes, the networks {count}; allowed: as many",
    )
    return names
