"""An image data set of tensorflow-datasets, named `tfds/<dataset>`, read without TensorFlow.

`data.dir` is the `data_dir` in which `sagan prepare` has prepared it as `array_record`.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sagan.config import ConfigError, DataConfig
from sagan.data import contents, held_out, unknown_split
from sagan.data.stored import Stored
from sagan.files import places
from sagan.files.images import Fit


class Prepared(Stored):
    """One split of a prepared data set, its images made square and resized."""

    def __init__(self, folder: Path, split: str, image_size: int, fit: Fit = "crop"):
        super().__init__(image_size, fit)
        builder: Any = tfds().builder_from_directory(folder)
        if split not in builder.info.splits:
            raise unknown_split(split, builder.info.full_name, list(builder.info.splits))
        self.held_out = held_out(split, builder.info.splits)
        self._image, self._label, self.class_names = _features(builder.info)
        try:
            self._records: Any = builder.as_data_source(split=split)
        except NotImplementedError as error:  # raised by tfds for formats read in order only
            raise ConfigError(
                f"{folder} is not prepared as array_record, which random access needs; "
                f"prepare it in another folder: sagan prepare {builder.info.name} data.dir=DIR"
            ) from error
        shape = f"{image_size}" if fit == "crop" else f"{image_size} {fit}"
        listing = hashlib.sha256(f"{builder.info.full_name} {split} {shape}".encode())
        files = [(f.name, f.stat().st_size) for f in sorted(folder.glob(f"*-{split}.*"))]
        for name, size in files:
            listing.update(f"{name} {size}".encode())
        self.contents = contents.listed((f"files of {split}", name, size) for name, size in files)
        self.key = f"tfds-{builder.info.name}-{split}-{image_size}-{listing.hexdigest()[:16]}"

    def __len__(self) -> int:
        return len(self._records)

    def stored(self, index: int) -> tuple[Image.Image, int]:
        record = self._records[index]
        image = np.asarray(record[self._image])
        if image.shape[-1] == 1:
            image = np.repeat(image, 3, axis=-1)
        label = int(record[self._label]) if self._label else 0
        return Image.fromarray(image), label


def tfds() -> Any:
    """Imports tensorflow-datasets, which then does not warn that TensorFlow is absent."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow_datasets

    return tensorflow_datasets


def folder_of(data_dir: str | None) -> Path:
    """Returns the folder of data sets: `data_dir`, else TFDS's usual one."""
    usual = os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")
    return places.local(data_dir or usual, "data.dir=")


def load(config: DataConfig, image_size: int, argument: str) -> Prepared:
    """Opens the newest version that is prepared in `data.dir` (else TFDS's usual folder).

    Raises: ConfigError if none is prepared there, or it lacks the split.
    """
    if not argument:
        raise ConfigError("data.name=tfds needs the dataset's name, such as tfds/cifar10")
    return Prepared(prepared_in(config, argument), config.split, image_size, config.fit)


def prepared_in(config: DataConfig, argument: str) -> Path:
    """Returns the folder of the newest version of a set. Raises: ConfigError if there is none."""
    root = folder_of(config.dir)
    versions = sorted((root / argument).glob("**/dataset_info.json"), key=_by_number)
    if not versions:
        raise ConfigError(
            f"data.dir={root} holds no prepared {argument!r} (looked for "
            f"{argument}/VERSION/dataset_info.json); prepare it first: sagan prepare {argument}"
            + (f" data.dir={config.dir}" if config.dir else "")
        )
    return versions[-1].parent


def _by_number(path: Path) -> list[Any]:
    """Returns a sort key that orders 3.0.10 after 3.0.2."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))]


def _features(info: Any) -> tuple[str, str | None, tuple[str, ...]]:
    """Returns the names of the image feature, the label feature, and the classes."""
    kinds, features = tfds().features, dict(info.features.items())
    images = [name for name, f in features.items() if isinstance(f, kinds.Image)]
    labels = [name for name, f in features.items() if isinstance(f, kinds.ClassLabel)]
    if not images:
        raise ConfigError(f"{info.full_name} has no image feature; it has: {', '.join(features)}")
    if not labels:
        return images[0], None, ("all",)
    label = "label" if "label" in labels else labels[0]
    return images[0], label, tuple(features[label].names)
