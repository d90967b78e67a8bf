"""Images: reading a file as RGB, fitting it to a square, making grids, writing PNG files.

A file may be PNG, JPEG, WebP, BMP or TIFF, by its content, not its name. What it becomes:

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
| several frames or pages | the first one |
| TIFF of 32 bits, signed or floating point, or of 16 bits with white as 0 | refused |
| a colour profile, a gamma | not applied |
"""

import io
import json
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import TiffImageFile

from sagan.config import ConfigError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
Fit = Literal["crop", "pad", "stretch"]
MAX_PIXELS = 64 << 20  # larger images are refused by their header, before decoding
MAX_BYTES = 4 * MAX_PIXELS + (1 << 20)  # of a file; an image of MAX_PIXELS needs no more
_ORIENTATION = 0x0112  # EXIF tag
_BITS_PER_SAMPLE, _PHOTOMETRIC = 0x0102, 0x0106  # TIFF tags
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
      BadImage: the file is of none of the formats, is damaged or empty, or has more than
        `MAX_PIXELS`; names the file.
      ConfigError: the file cannot be opened or read; trying again may help.
    """
    return decode_from(lambda: open_file(path), str(path))


def decode_from(opener: Callable[[], io.BufferedIOBase], name: str) -> Image.Image:
    """Reads what `opener` opens, such as a file in a zip; raises as `decode`, with this name."""
    with _named(name):
        data = _read(opener, name)
        with _opened(name, io.BytesIO(data)) as image:
            return _rgb(image, data)


def stored_size(opener: Callable[[], io.BufferedIOBase], name: str) -> tuple[int, int]:
    """Returns width and height as stored, from the header. Raises: as `decode`."""
    with _named(name), opener() as file, _opened(name, file) as image:
        return image.size


def range_of_16_bits(opener: Callable[[], io.BufferedIOBase], name: str) -> tuple[int, int] | None:
    """Returns the least and the greatest high byte of a 16-bit image; None for other images.

    Raises: as `decode`.
    """
    with _named(name):
        data = _read(opener, name)
        with _opened(name, io.BytesIO(data)) as image:
            if _bits(image, data) != 16:
                return None
            pixels = np.asarray(_rgb(image, data))
            return int(pixels.min()), int(pixels.max())


def open_file(path: Path) -> io.BufferedIOBase:
    """Opens a file, unless it is a device or too large for an image. Raises: as `decode`."""
    with _named(str(path)):
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: not a file")
        if status.st_size > MAX_BYTES:
            raise BadImage(f"{path}: {status.st_size} bytes; allowed: {MAX_BYTES}")
        return path.open("rb")


def _read(opener: Callable[[], io.BufferedIOBase], name: str) -> bytes:
    with opener() as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadImage(f"{name}: more than {MAX_BYTES} bytes, which are allowed")
    return data


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Turns any error of a decoder into a `BadImage` that names the file; hides its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ConfigError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # raised by the system, not by a decoder
            raise ConfigError(f"{name}: cannot be read ({error.strerror})") from error
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise BadImage(f"{name}: not a readable image ({said})") from error


def _opened(name: str, file: Any) -> Image.Image:
    """Opens an image, reading only its header."""
    start = file.read(12)
    file.seek(0)
    if not start:
        raise BadImage(f"{name}: not a readable image (empty file)")
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        raise BadImage(
            f"{name}: not a readable image (begins with {start!r}; allowed: {', '.join(FORMATS)})"
        ) from error
    except Image.DecompressionBombError as error:
        raise BadImage(f"{name}: {error}; allowed: {MAX_PIXELS} pixels in all") from error
    if not 0 < image.width * image.height <= MAX_PIXELS:
        raise BadImage(
            f"{name}: {image.width} x {image.height} pixels; allowed: {MAX_PIXELS} in all"
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
    if isinstance(image, TiffImageFile) and _is_odd(image):
        raise ValueError("32 bits, signed, floating point or inverted 16 bits; not supported")
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGB")
    if clear is not None:
        image.paste((0, 0, 0), mask=Image.fromarray(clear))
    return image


def _bits(image: Image.Image, data: bytes) -> int:
    """Returns the bits of one value of a PNG or TIFF; 8 for other formats."""
    if image.format == "PNG":
        return data[24]  # of the header
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    return 8


def _is_odd(image: TiffImageFile) -> bool:
    """Returns whether the range of a TIFF's values is not known, or Pillow reads them wrongly."""
    inverted = image.tag_v2.get(_PHOTOMETRIC) == 0 and image.mode.startswith("I;16")
    return inverted or image.mode in ("I", "F")


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


def fit(image: Image.Image, size: int, how: Fit = "crop") -> UInt8[np.ndarray, "S S 3"]:
    """Makes an image square and resizes it (Lanczos), unless it has the size already.

    Args:
      how: `crop` keeps the central square of the shorter side, `pad` adds black bars, `stretch`
        changes the proportions.
    """
    if image.size != (size, size):
        if how == "crop":
            image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        elif how == "pad":
            image = ImageOps.pad(image, (size, size), Image.Resampling.LANCZOS)
        else:
            image = image.resize((size, size), Image.Resampling.LANCZOS)
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
