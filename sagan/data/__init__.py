"""Data sets: one file in `sources/` is one kind of source, found by the name in `data.name`.

A source's file defines

    load(config: DataConfig, image_size: int, argument: str) -> Source

where `argument` is what follows the first `/` of the name (`tfds/cifar10` → `cifar10`). A source
is a table with random access. Order, shuffling, sharding, augmentation and resuming are written
once, in `pipeline.py`. Sources use numpy alone, so a missing folder is reported before jax is
imported. An image that cannot be read raises `sagan.files.images.BadImage`: training replaces up
to one in a thousand (`unreadable.py`), while scoring refuses any.
"""

import dataclasses
import functools
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NotRequired, Protocol, TypedDict, runtime_checkable

import numpy as np

from sagan.config import Config, ConfigError, DataConfig, plugins
from sagan.config.fields import closest


class Example(TypedDict):
    """`image`: uint8 (S, S, 3), RGB; `label`: 0 … K - 1; `fields`: what else is declared."""

    image: np.ndarray
    label: int
    fields: NotRequired[Mapping[str, np.ndarray]]


@runtime_checkable
class Source(Protocol):
    """A table of labelled images of one size.

    Attributes:
      class_names: one per label; a single class means that there are no labels.
      key: names the content in caches; it must change whenever the content does.

    It may also have `notes` (see `tell`), `contents` (see `contents.py`), and `held_out`: the name
    of a split of the same set that its images are held against in tables of scores. Where examples
    have more arrays than image and label, `fields` holds the shape and dtype of each by its name.
    A source with captions also has `vocabulary`; see `captions.py`.
    """

    class_names: tuple[str, ...]
    key: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


def check_name(config: DataConfig) -> None:
    """Raises: ConfigError if there is no source of this name. Opens nothing."""
    plugins.load("data", config.name.partition("/")[0], field="data.name")


def load(
    config: DataConfig, image_size: int, *, split: str | None = None, quiet: bool = False
) -> Source:
    """Opens the source named by `config.name`, with images of `image_size` pixels.

    Args:
      split: instead of `config.split`.
      quiet: do not print the source's notes (see `tell`); set in worker processes.

    Raises: ConfigError if the source, its folder or its split does not exist, or has no images.
    """
    if split is not None:
        config = dataclasses.replace(config, split=split)
    name, _, argument = config.name.partition("/")
    module = plugins.load("data", name, field="data.name")
    source = module.load(config, image_size, argument)
    if len(source) == 0:
        raise ConfigError(f"data.name={config.name}: split {config.split!r} has no images")
    if not quiet:
        tell(source)
    return source


@functools.cache
def _tell_once(note: str) -> None:
    print(f"sagan: {note}", file=sys.stderr)


def tell(source: Source) -> None:
    """Prints the notes of a source on stderr, each once in a process.

    A source may have an attribute `notes`: sentences about what the user may not expect, such as
    which files are ignored. A note is not repeated if the source is opened again.
    """
    for note in getattr(source, "notes", ()):
        _tell_once(note)


Fields = Mapping[str, tuple[tuple[int, ...], np.dtype]]  # shape and dtype of one example's arrays


def fields_of(source: Source) -> Fields:
    """Returns what arrays the examples of a source have beside image and label; often none."""
    return getattr(source, "fields", {})


def vocabulary_of(source: Source) -> tuple[str, ...]:
    """Returns the words that the numbers in a source's captions stand for; () if it has none."""
    return tuple(getattr(source, "vocabulary", ()))


def read(source: Source, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads examples: images uint8 (N, S, S, 3) and labels int32 (N,)."""
    images, labels, _ = read_all(source, indices)
    return images, labels


def read_all(
    source: Source, indices: Sequence[int] | np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Reads examples as `read`, and each of the arrays that the source declares, (N, …)."""
    examples = [source[int(i)] for i in indices]
    images = np.stack([example["image"] for example in examples])
    labels = np.array([example["label"] for example in examples], np.int32)
    fields = {
        name: np.stack([field(example, name) for example in examples]) for name in fields_of(source)
    }
    return images, labels, fields


def field(example: Example, name: str) -> np.ndarray:
    """Returns an array that the example's source declares."""
    return example.get("fields", {})[name]


def resolve(config: Config, source: Source) -> Config:
    """Replaces `model.num_classes="data"` by the number of classes, and checks config and data.

    Raises: ConfigError if the number of classes differs, or the set is smaller than a batch.
    """
    found = len(source.class_names)
    wanted = config.model.num_classes
    if wanted == "data":
        wanted = found if found > 1 else None
    elif wanted is not None and wanted != found:
        raise ConfigError(
            f"model.num_classes={wanted}, but {config.data.name} has {found}: "
            f"{', '.join(source.class_names[:5])}{', …' if found > 5 else ''}"
        )
    if len(source) < config.train.batch_size:
        raise ConfigError(
            f"{config.data.name} has {len(source)} images, "
            f"fewer than train.batch_size={config.train.batch_size}"
        )
    changes: dict[str, Any] = {"num_classes": wanted}
    if hasattr(config.model, "vocabulary_size"):
        changes |= _of_captions(config, source)
    model = dataclasses.replace(config.model, **changes)
    return dataclasses.replace(config, model=model)


def _of_captions(config: Config, source: Source) -> dict[str, int]:
    """Returns the model's fields that captions decide. Raises: ConfigError if they differ."""
    if "captions" not in fields_of(source):
        raise ConfigError(f"data.name={config.data.name} has no captions to learn from")
    (_, length), _ = fields_of(source)["captions"]
    found = {"vocabulary_size": len(vocabulary_of(source)), "max_words": length - 1}
    for name, number in found.items():
        wanted = getattr(config.model, name)
        if wanted not in ("data", number):
            raise ConfigError(
                f"model.{name}={wanted}, but for the captions of {config.data.name} it is {number}"
            )
    return found


def held_out(split: str, known: Iterable[str]) -> str | None:
    """Returns the split that the images of a training split are held against, of those `known`.

    Validation comes first, since the labels of a test split may be secret. None if `split` is not a
    training split, or there is no other.
    """
    if split.lower() not in ("train", "training"):
        return None
    by_lower = {name.lower(): name for name in known}
    usual = ("validation", "val", "valid", "test", "testing")
    return next((by_lower[name] for name in usual if name in by_lower), None)


def unknown_split(split: str, where: str, known: Sequence[str]) -> ConfigError:
    """Returns the error for a split that `where` does not have; names the closest one it has."""
    return ConfigError(
        f"data.split={split!r}{closest(split, known)}; {where} has: {', '.join(known) or 'none'}"
    )
