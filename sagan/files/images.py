"""Images: reading a file as RGB, fitting it to a square, making grids, writing PNG files.

A file may be PNG, JPEG, WebP or BMP, by its content, not its name. What it becomes:

| stored | becomes |
|---|---|
| 8-bit colour | unchanged |
| grey of 1, 2, 4, 8 bits | three equal channels; the greatest value is 255 |
| 16 bits, grey or colour | the high byte of each value: v // 256 |
| palette | the colours looked up |
| alpha, of a channel or a palette | laid over black: round(colour x alpha / 255) |
| one transparent colour (PNG tRNS) | black where it is; refused in 16-bit colour |
| CMYK, YCCK | round((255 - ink) x (255 - black) / 255) |
| EXIF orientation 1 … 8 | turned upright; unreadable EXIF counts as upright |
| several frames | the first frame |
| a colour profile, a gamma | not applied |
"""

import io
import json
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from sagan.config import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 64 << 20  # larger images are refused by their header, before decoding
_MAX_BYTES = 4 * MAX_PIXELS + (1 << 20)  # of a file; an image of MAX_PIXELS needs no more
_ORIENTATION = 0x0112  # EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImage(ConfigError):
    """The content of a file is not a readable image; trying again does not help."""


def decode(path: Path) -> Image.Image:
    """Reads an image file as upright RGB, by the table above.

    Raises:
      BadImage: the file is not PNG, JPEG, WebP or BMP, is damaged or empty, or has more than
        `MAX_PIXELS`; names the file.
      ConfigError: the file cannot be opened or read; trying again may help.
    """
    with _named(path):
        data = _file(path).read_bytes()
        with _opened(path, io.BytesIO(data)) as image:
            return _rgb(image, data)


def stored_size(path: Path) -> tuple[int, int]:
    """Returns width and height as stored, from the header. Raises: as `decode`."""
    with _named(path), _file(path).open("rb") as file, _opened(path, file) as image:
        return image.size


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turns any error of a decoder into a `BadImage` that names the file; hides its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ConfigError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # raised by the system, not by a decoder
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadImage(f"{path}: not a readable image ({said})") from error


def _file(path: Path) -> Path:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path}: not a file")
    if status.st_size > _MAX_BYTES:
        raise BadImage(f"{path}: {status.st_size} bytes; allowed: {_MAX_BYTES}")
    return path


def _opened(path: Path, file: Any) -> Image.Image:
    """Opens an image, reading only its header."""
    start = file.read(12)
    file.seek(0)
    if not start:
        raise BadImage(f"{path}: not a readable image (empty file)")
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise BadImage(
            f"{path}: not a readable image (begins with {start!r}; allowed: {', '.join(FORMATS)})"
        ) from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"{path}: {error}; allowed: {MAX_PIXELS} pixels in all") from error
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise BadImage(
            f"{path}: {image.width} x {image.height} pixels; allowed: {MAX_PIXELS} in all"
        )
    return image


def _rgb(image: Image.Image, data: bytes) -> Image.Image:
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        image = image.transpose(turn)
    key = image.info.get("transparency")
    if image.mode in ("RGBA", "LA") or (image.mode == "P" and key is not None):
        layer = image.convert("RGBA")
        ground = Image.new("RGB", layer.size)
        ground.paste(layer, mask=layer.getchannel("A"))
        return ground
    clear = None if key is None else _equals(image, key, depth=data[24])  # of PNG's header
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGB")
    if clear is not None:
        image.paste((0, 0, 0), mask=Image.fromarray(clear))
    return image


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF can raise anything; the image itself may be intact
        return 1


def _equals(image: Image.Image, key: Any, depth: int) -> UInt8[np.ndarray, "H W"]:
    """Returns 255 where a PNG has its transparent colour `key`, given with `depth` bits."""
    if image.mode == "RGB" and depth == 16:
        raise ValueError("16-bit colour with a transparent colour, which is not supported")
    if depth in (2, 4):  # Pillow scales pixels to 0 … 255, but not the key
        key = key * (255 // (2**depth - 1))
    same = np.asarray(image.convert("L") if image.mode == "1" else image) == np.asarray(key)
    return np.where(same.all(-1) if image.mode == "RGB" else same, 255, 0).astype(np.uint8)


def fit(image: Image.Image, size: int) -> UInt8[np.ndarray, "S S 3"]:
    """Crops to the central square of the shorter side, and resizes it (Lanczos) if sizes differ."""
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


def quantize(image: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """Maps [-1, 1] to 0 … 255, rounding to the nearest integer."""
    return np.clip(np.round(127.5 * (image + 1)), 0, 255).astype(np.uint8)


def grid(
    images: UInt8[np.ndarray, "N S S 3"], columns: int, *, scale: int = 1, gap: int = 2
) -> UInt8[np.ndarray, "H W 3"]:
    """Arranges images in rows on white, each enlarged (bicubic) by `scale`, `gap` pixels apart."""
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
    """Writes a PNG; its text chunk `sagan` holds `about`, where the image comes from, as JSON."""
    info = PngInfo()
    info.add_text("sagan", json.dumps(about))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, format="PNG", pnginfo=info)
