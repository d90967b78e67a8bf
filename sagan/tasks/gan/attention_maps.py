"""Draws attention maps over generated images.

Query points are coloured dots on the image. Beside it, one map for each query point shows the
positions that it attends to. Source: SAGAN (arXiv:1805.08318), Figures 1 and 5.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from sagan.files.images import grid
from sagan.tasks.exhibits import Exhibit, Look

USUAL_POINTS = ((0.3, 0.3), (0.5, 0.5), (0.75, 0.65))  # (row, column) as fractions of the side
COLOURS = ((255, 64, 64), (64, 220, 64), (80, 140, 255), (255, 210, 40), (230, 80, 230))
_PANEL_PX = 128


def sheet(
    drawn: UInt8[np.ndarray, "N S S 3"],
    maps: Mapping[str, Float[np.ndarray, "N Q K"]],
    points: Sequence[tuple[float, float]],
) -> UInt8[np.ndarray, "H W 3"]:
    """Returns one row for each image and layer: the image with its query points, then their maps.

    Args:
      maps: of each layer, as `generate.attention_maps` returns them.
      points: query points as (row, column) fractions of the side.
    """
    panels = []
    for number, image in enumerate(drawn):
        for layer in maps.values():
            panels.append(dotted(image, points))
            panels += [
                overlay(image, row_of(layer[number], point), COLOURS[n % len(COLOURS)])
                for n, point in enumerate(points)
            ]
    return grid(np.stack(panels), len(points) + 1, gap=4)


def exhibits(
    drawn: UInt8[np.ndarray, "N S S 3"],
    names: Sequence[str],
    maps: Mapping[str, Float[np.ndarray, "N Q K"]],
    gammas: Mapping[str, Any],
) -> list[Exhibit]:
    """Returns each image with the maps of its layers.

    Args:
      names: a title for each image.
      maps: of each layer, as `generate.attention_maps` returns them.
      gammas: as `telemetry.gammas` returns them, of the generator.
    """

    def look(layer: str, number: int) -> Look:
        weights = maps[layer][number]
        side = round(weights.shape[1] ** 0.5)
        gamma = gammas.get(f"gamma/g/{layer}")
        note = "" if gamma is None else f"γ = {float(gamma):.3g}"
        return Look(layer, weights.reshape(-1, side, side), note)

    return [
        Exhibit(name, image, [look(layer, number) for layer in maps])
        for number, (name, image) in enumerate(zip(names, drawn, strict=True))
    ]


def row_of(
    attention: Float[np.ndarray, "Q K"], point: tuple[float, float]
) -> Float[np.ndarray, "k k"]:
    """Returns the map of one query point.

    Keys may be pooled, so the map has sqrt(K) rows and columns, not sqrt(Q).

    Args:
      point: (row, column) as fractions of the side, in [0, 1).
    """
    side = round(attention.shape[0] ** 0.5)
    row, column = (min(int(fraction * side), side - 1) for fraction in point)
    width = round(attention.shape[1] ** 0.5)
    return attention[row * side + column].reshape(width, width)


def overlay(
    image: UInt8[np.ndarray, "S S 3"],
    attention: Float[np.ndarray, "k k"],
    colour: tuple[int, int, int],
) -> UInt8[np.ndarray, "P P 3"]:
    """Returns the image in dark grey, coloured where the map is close to its maximum.

    A map of zeros colours nothing.
    """
    base = np.asarray(_enlarged(image), np.float32)
    strength = Image.fromarray((attention / max(attention.max(), 1e-20)).astype(np.float32))
    strength = strength.resize((_PANEL_PX, _PANEL_PX), Image.Resampling.BILINEAR)
    alpha = np.clip(np.asarray(strength), 0, 1)[..., None]
    grey = base.mean(-1, keepdims=True).repeat(3, -1) * 0.5
    lit = 0.6 * np.asarray(colour, np.float32) + 0.4 * base
    return np.round((1 - alpha) * grey + alpha * lit).astype(np.uint8)


def dotted(
    image: UInt8[np.ndarray, "S S 3"], points: Sequence[tuple[float, float]]
) -> UInt8[np.ndarray, "P P 3"]:
    """Returns the image with a coloured dot at each point."""
    picture = _enlarged(image)
    draw = ImageDraw.Draw(picture)
    for number, (row, column) in enumerate(points):
        y, x = row * _PANEL_PX, column * _PANEL_PX
        colour = COLOURS[number % len(COLOURS)]
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour, outline=(255, 255, 255), width=1)
    return np.asarray(picture)


def _enlarged(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image).resize((_PANEL_PX, _PANEL_PX), Image.Resampling.BICUBIC)
