"""Datasets: one file here is one kind of source, found by the name in `data.name`.

A dataset's file defines

    load(config: DataConfig, image_size: int, argument: str) -> Source

where `argument` is what follows the first `/` of the name (`tfds/cifar10` → `cifar10`). A source
is a random-access table; order, shuffling, sharding, augmentation and resuming are written once,
elsewhere. Sources are numpy alone: a missing folder is reported before jax is imported. An image
that cannot be read raises `sagan.files.images.BadImage`: training passes over one in a thousand such
(`_tolerant.py`), scoring over none.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np

from sagan.config import Config, ConfigError, DataConfig
from sagan.config import plugins as registry


class Example(TypedDict):
    """`image`: uint8 (S, S, 3), RGB; `label`: 0 … K - 1."""

    image: np.ndarray
    label: int


@runtime_checkable
class Source(Protocol):
    """A table of labelled images of one size.

    Attributes:
      class_names: one per label; a single class means that there are no labels.
      key: changes whenever the content would; names caches.
    """

    class_names: tuple[str, ...]
    key: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Example: ...


def load(config: DataConfig, image_size: int, *, split: str | None = None) -> Source:
    """Opens the source that `config.name` stands for, at `image_size` pixels.

    Raises: ConfigError if there is no such source, folder, split, or image in it.
    """
    if split is not None:
        config = dataclasses.replace(config, split=split)
    name, _, argument = config.name.partition("/")
    module = registry.load("data", name, field="data.name")
    source = module.load(config, image_size, argument)
    if len(source) == 0:
        raise ConfigError(f"data.name={config.name}: split {config.split!r} has no images")
    return source


def read(source: Source, indices: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads examples: uint8 (N, S, S, 3) and int32 (N,)."""
    examples = [source[int(i)] for i in indices]
    images = np.stack([example["image"] for example in examples])
    return images, np.array([example["label"] for example in examples], np.int32)


def resolve(config: Config, source: Source) -> Config:
    """Fills in what the data decides, and checks that config and data agree.

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
    model = dataclasses.replace(config.model, num_classes=wanted)
    return dataclasses.replace(config, model=model)


def require_directory(config: DataConfig) -> Path:
    """Gives `data.dir` as a path. Raises: ConfigError if it is not set or not a folder."""
    if config.dir is None:
        raise ConfigError(f"data.name={config.name} needs data.dir=FOLDER")
    path = Path(config.dir).expanduser()
    if not path.is_dir():
        raise ConfigError(f"data.dir={config.dir} is not a folder")
    return path
