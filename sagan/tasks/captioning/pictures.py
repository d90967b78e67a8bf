"""Pictures of captions: the image, and where it was looked at for each word.

Each word has a panel: the map of its attention, enlarged and blurred, laid over the image (Section
5.4 of the paper and its code: bilinear from 14 to 224 px, a Gaussian of 20 px, opacity 0.8).
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from sagan import data
from sagan.config import Config
from sagan.data import Source

_SIDE_PX = 112  # of a panel, at least
_TEXT_PX = 18
_GAP_PX = 4
_COLUMNS = 14  # panels in a row
_BLUR = 20 / 224  # of the side
_OPACITY = 0.8


def unseen(config: Config) -> Source:
    """Opens a run's images: held-out ones, where the data have such a split.

    Raises: ConfigError if they cannot be opened.
    """
    size = config.model.image_size
    source = data.load(config.data, size, quiet=True)
    split = getattr(source, "held_out", None)
    return source if split is None else data.load(config.data, size, split=split, quiet=True)


def panels(
    image: UInt8[np.ndarray, "S S 3"],
    sentence: Sequence[str],
    attention: Float[np.ndarray, "T G G"],
) -> UInt8[np.ndarray, "H W 3"]:
    """Draws an image, and a panel for each word of its caption, in rows of up to 14."""
    side = len(image) * math.ceil(_SIDE_PX / len(image))
    shown = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    tiles = [("", shown)]
    for word, weights in zip(sentence, attention, strict=True):
        tiles.append((word, Image.fromarray(_overlay(np.asarray(shown), weights))))
    columns, height = min(len(tiles), _COLUMNS), side + _TEXT_PX + 2 * _GAP_PX
    size = columns * (side + _GAP_PX) + _GAP_PX, -(-len(tiles) // columns) * height
    sheet, font = Image.new("RGB", size, "white"), ImageFont.load_default(_TEXT_PX - 4)
    for number, (word, tile) in enumerate(tiles):
        row, column = divmod(number, columns)
        left, top = _GAP_PX + column * (side + _GAP_PX), row * height
        label = Image.new("RGB", (side, _TEXT_PX), "white")  # cuts off what is too long
        ImageDraw.Draw(label).text((2, 1), word, fill="black", font=font)
        sheet.paste(label, (left, top))
        sheet.paste(tile, (left, top + _TEXT_PX + _GAP_PX))
    return np.asarray(sheet)


def _overlay(
    image: UInt8[np.ndarray, "H H 3"], weights: Float[np.ndarray, "G G"]
) -> UInt8[np.ndarray, "H H 3"]:
    """Lays one map over an image, its greatest value white."""
    side = len(image)
    enlarged = Image.fromarray(weights.astype(np.float32)).resize(
        (side, side), Image.Resampling.BILINEAR
    )
    blurred = gaussian_filter(np.asarray(enlarged), _BLUR * side)
    grey = 255 * blurred / max(float(blurred.max()), 1e-20)
    mixed = (1 - _OPACITY) * image + _OPACITY * grey[..., None]
    return np.round(mixed).astype(np.uint8)


def stacked(rows: Sequence[np.ndarray]) -> UInt8[np.ndarray, "H W 3"]:
    """Puts pictures (h, w, 3) of any widths under one another, on white."""
    sheet = np.full((sum(map(len, rows)), max(row.shape[1] for row in rows), 3), 255, np.uint8)
    top = 0
    for row in rows:
        sheet[top : top + len(row), : row.shape[1]] = row
        top += len(row)
    return sheet
