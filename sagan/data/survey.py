"""Reads every image of a source once, to show what a training would see of it."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8
from PIL import Image, ImageDraw, ImageFont

from sagan.config import ConfigError
from sagan.data import Source, decoded
from sagan.data.stored import Stored
from sagan.files import atomic
from sagan.files.progress import Progress

SHOWN_CLASSES = 20
_BAR = 30  # characters of the longest bar
_TILES = 8  # images of a class on the sheet
_SHEET_PX = 1024  # width of a class's row, unless two images need more
_TILE_PX = 64  # smaller images are enlarged to about this
_NAME_PX = 20  # height of the line with a class's name


class Survey(NamedTuple):
    """The results of `survey`.

    Attributes:
      bad: for each unreadable image, its name and what is wrong with it.
      labels: class of each readable image.
      sizes: width and height of each as stored, (N, 2); empty if the source stores one size.
      tiles: images as training sees them, by label, of the first `SHOWN_CLASSES` classes.
    """

    bad: list[str]
    labels: Int64[np.ndarray, " N"]
    sizes: Int64[np.ndarray, "N 2"]
    tiles: dict[int, list[UInt8[np.ndarray, "S S 3"]]]


def survey(source: Source) -> Survey:
    """Reads every image. Raises: ConfigError if a label is not one of the classes."""
    bad, labels, sizes = [], [], []
    tiles: dict[int, list[np.ndarray]] = {}
    seen: dict[int, int] = {}
    random = np.random.default_rng(0)
    progress = Progress("reading", len(source))
    for index in range(len(source)):
        try:
            if isinstance(source, Stored):
                stored, label = source.stored(index)
                image = source.fitted(stored)
                sizes.append(stored.size)
            else:
                example = source[index]
                image, label = example["image"], example["label"]
            labels.append(label)
            seen[label] = seen.get(label, 0) + 1
            if label < SHOWN_CLASSES:
                _keep(tiles.setdefault(label, []), image, seen[label], random)
        except ConfigError as error:
            bad.append(str(error))
        progress.update(index + 1)
    progress.close()
    decoded.check_labels(source, np.array(labels))
    shapes = np.array(sizes, np.int64).reshape(-1, 2)
    return Survey(bad, np.array(labels, np.int64), shapes, tiles)


def _keep(
    kept: list[np.ndarray], image: np.ndarray, number: int, random: np.random.Generator
) -> None:
    """Keeps an even sample of the images of a class, of which this is the `number`th."""
    if len(kept) < _TILES:
        kept.append(np.asarray(image))
    elif (place := int(random.integers(number))) < _TILES:
        kept[place] = np.asarray(image)


def classes(source: Source, labels: np.ndarray) -> Iterator[str]:
    """Yields a line for each class with number, name and a bar; a summary if there are many."""
    names = source.class_names
    counts = np.bincount(labels, minlength=len(names))
    width = max(len(name) for name in names[:SHOWN_CLASSES])
    most = max(counts.max(), 1)  # no image may be readable
    for number, name in enumerate(names[:SHOWN_CLASSES]):
        count = counts[number]
        yield f"{number:>4} {name:{width}}  {count:8,}  {'#' * math.ceil(_BAR * count / most)}"
    rest = counts[SHOWN_CLASSES:]
    if len(rest):
        yield f"… {len(rest)} more: {rest.min():,} to {rest.max():,} each"
    empty = np.array(names)[counts == 0]
    if len(empty):
        yield f"without images: {', '.join(empty[:5])}"


def shapes(source: Source, sizes: np.ndarray) -> Iterator[str]:
    """Yields lines on the stored sizes, and on what `data.fit` does to oblong images."""
    if not isinstance(source, Stored) or not len(sizes):
        return
    least, most = sizes[np.argmin(sizes.prod(1))], sizes[np.argmax(sizes.prod(1))]
    small = int((sizes.min(1) < source.image_size).sum())
    line = f"{least[0]} x {least[1]}"
    line += "" if (least == most).all() else f" to {most[0]} x {most[1]}"
    yield line + (f"; {small:,} smaller than {source.image_size} px, enlarged" if small else "")
    ratios = sizes.min(1) / sizes.max(1)
    oblong = ratios[ratios < 1]
    if not len(oblong):
        return
    middle, worst = float(np.median(oblong)), float(oblong.min())
    share = f"{1 - middle:.0%} (median) to {1 - worst:.0%} (worst)"
    what = {
        "crop": f"cuts off {share} of their area; pad and stretch keep all",
        "pad": f"makes {share} of their area black bars",
        "stretch": f"widens or narrows them {1 / middle:.2f} (median) to {1 / worst:.2f} times",
    }
    yield (
        f"{len(oblong):,} of {len(sizes):,} are not square: data.fit={source.how} "
        + (what[source.how])
    )


def write_sheet(path: Path, source: Source, tiles: dict[int, list[np.ndarray]]) -> None:
    """Writes a PNG with a row for each class: its number, name and images as training has them.

    Raises: OSError if it cannot be written.
    """
    size = max(image.shape[0] for images in tiles.values() for image in images)
    scale = max(1, round(_TILE_PX / size))
    step = size * scale + 2
    columns = min(_TILES, max(2, _SHEET_PX // step))
    font = _font()
    sheet = Image.new("RGB", (columns * step + 2, len(tiles) * (step + _NAME_PX)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(sorted(tiles)):
        top = row * (step + _NAME_PX)
        draw.text((3, top + 2), f"{label}  {source.class_names[label]}", "black", font)
        for column, image in enumerate(tiles[label][:columns]):
            tile = Image.fromarray(image).resize((size * scale,) * 2, Image.Resampling.NEAREST)
            sheet.paste(tile, (2 + column * step, top + _NAME_PX))
    with atomic.replacing(path) as file:
        sheet.save(file, "PNG")


def _font() -> ImageFont.FreeTypeFont:
    """Returns matplotlib's DejaVu Sans, which has Latin, Greek, Cyrillic and more."""
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), 14)
