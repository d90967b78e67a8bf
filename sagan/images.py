"""Pictures: reading any file into RGB, fitting it to a square, grids, PNG files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from sagan.typed import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 64 << 20  # a larger image is refused from its header, before it is decoded


def decode(path: Path) -> Image.Image:
    """Reads an image file as upright RGB.

    EXIF rotation is applied; palettes, grey (8 and 16 bits) and CMYK become RGB; what is
    transparent becomes black.

    Raises: ConfigError naming the file, if it is not one of PNG, JPEG, WebP, BMP, is damaged, or
      has more than `MAX_PIXELS`.
    """
    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ConfigError(
                    f"{path}: {image.width} x {image.height} pixels; allowed: {MAX_PIXELS} in all"
                )
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                return Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8)).convert("RGB")
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                rgba = upright.convert("RGBA")
                ground = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
                return Image.alpha_composite(ground, rgba).convert("RGB")
            return upright.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ConfigError(f"{path}: not a readable image ({error})") from error


def fit(image: Image.Image, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Crops to the central square of the shorter side and resizes (Lanczos) where sizes differ."""
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def quantize(image: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Takes [-1, 1] to 0 … 255, rounding to the nearest."""
    return np.clip(np.round(127.5 * (image + 1)), 0, 255).astype(np.uint8)


def grid(
    images: UInt8[np.ndarray, "N S S 3"], columns: int, *, scale: int = 1, gap: int = 2
) -> UInt8[np.ndarray, "H W 3"]:
    """Lays images out row by row on white, each enlarged bicubically by `scale`."""
    size = images.shape[1] * scale
    if scale > 1:
        enlarged = [
            Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
            for image in images
        ]
        images = np.stack([np.asarray(image) for image in enlarged])
    rows = -(-len(images) // columns)
    sheet = np.full((rows * (size + gap) + gap, columns * (size + gap) + gap, 3), 255, np.uint8)
    for number, image in enumerate(images):
        y, x = (gap + (size + gap) * n for n in divmod(number, columns))
        sheet[y : y + size, x : x + size] = image
    return sheet


def save(path: Path, image: UInt8[np.ndarray, "H W 3"], about: dict[str, Any]) -> None:
    """Writes a PNG whose text chunk `sagan` says, as JSON, where the image comes from."""
    info = PngInfo()
    info.add_text("sagan", json.dumps(about))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format="PNG", pnginfo=info)
