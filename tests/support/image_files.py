"""Makes small valid image files of every kind; PNGs byte by byte, from the specification."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6  # PNG colour types


def _chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(samples, depth, kind, palette=None, trns=None, exif=None):
    """Returns a PNG of samples (H, W) or (H, W, channels) with `depth` bits each."""
    samples = np.asarray(samples)
    height, width = samples.shape[:2]
    rows = samples.reshape(height, -1)
    if depth == 16:
        packed = rows.astype(">u2").view(np.uint8)
    else:
        bits = (rows[..., None] >> np.arange(depth)[::-1]) & 1
        packed = np.packbits(bits.reshape(height, -1).astype(np.uint8), axis=1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), packed], axis=1)  # filter 0
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = [(b"IHDR", head)]
    chunks += [] if palette is None else [(b"PLTE", np.asarray(palette, np.uint8).tobytes())]
    chunks += [] if trns is None else [(b"tRNS", trns)]
    chunks += [] if exif is None else [(b"eXIf", exif)]
    chunks += [(b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def orientation(number):
    """Returns EXIF with this orientation: a little-endian TIFF directory with one entry."""
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, number, 0)


def huge_png(side):
    """Returns a complete PNG of one colour, `side` pixels square, of a few kilobytes."""
    head = struct.pack(">IIBBBBB", side, side, 1, GREY, 0, 0, 0)
    rows = zlib.compressobj(9)
    line = bytes(1 + (side + 7) // 8)
    data = b"".join(rows.compress(line) for _ in range(side)) + rows.flush()
    chunks = [(b"IHDR", head), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def pillow(samples, name, mode="RGB", **options):
    """Returns a file with these samples, written by Pillow."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(samples, np.uint8), mode="RGB" if mode == "P" else None).convert(
        mode
    ).save(file, name, **options)
    return file.getvalue()


def seeds(name, side=9):
    """Returns small valid files of one format, one for each of its modes."""
    random = np.random.default_rng(0)

    def noise(*shape, limit=256):
        return random.integers(0, limit, (side, side + 3, *shape))

    exif = b"Exif\0\0" + orientation(6)
    if name == "PNG":
        files = [png(noise(limit=2**d), d, GREY) for d in (1, 2, 4, 8, 16)]
        files += [png(noise(limit=2**d), d, GREY, trns=b"\0\1") for d in (1, 2, 4, 8, 16)]
        files += [png(noise(3, limit=2**d), d, COLOUR) for d in (8, 16)]
        files += [png(noise(3), 8, COLOUR, trns=b"\0\1\0\2\0\3")]
        files += [png(noise(2, limit=2**d), d, GREY_ALPHA) for d in (8, 16)]
        files += [png(noise(4, limit=2**d), d, COLOUR_ALPHA) for d in (8, 16)]
        for depth in (1, 2, 4, 8):
            table = random.integers(0, 256, (2**depth, 3))
            for trns in (None, bytes(range(2**depth))):
                files.append(png(noise(limit=2**depth), depth, PALETTE, table, trns))
        return [*files, png(noise(3), 8, COLOUR, exif=orientation(8))]
    if name == "JPEG":
        files = [pillow(noise(3), name, mode, quality=q) for mode in ("L", "CMYK") for q in (5, 95)]
        files += [pillow(noise(3), name, subsampling=s, exif=exif) for s in (0, 1, 2)]
        return [
            *files,
            pillow(noise(3), name, progressive=True),
            pillow(noise(3), name, comment=b"x"),
        ]
    if name == "WEBP":
        frames = [Image.fromarray(noise(3).astype(np.uint8)) for _ in range(3)]
        moving = io.BytesIO()
        frames[0].save(moving, "WEBP", save_all=True, append_images=frames[1:])
        files = [pillow(noise(c), name, "RGBA"[:c], lossless=k) for c in (3, 4) for k in (0, 1)]
        return [*files, pillow(noise(3), name, exif=exif), moving.getvalue()]
    if name == "TIFF":
        kinds = ({}, {"compression": "tiff_lzw"}, {"compression": "jpeg"})
        files = [pillow(noise(3), name, mode, **kind) for mode in ("L", "RGB") for kind in kinds]
        return [*files, pillow(noise(4), name, "RGBA"), pillow(noise(3), name, "CMYK")]
    assert name == "BMP"
    files = [pillow(noise(3), name, mode) for mode in ("1", "L", "P", "RGB")]
    return [*files, pillow(noise(4), name, "RGBA"), _bmp_rle(side)]


def _bmp_rle(side):
    """Returns a grey BMP with run-length encoding, one run per row."""
    table = b"".join(bytes((n, n, n, 0)) for n in range(256))
    data = b"".join(bytes((side, 20 * n, 0, 0)) for n in range(side)) + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(data), 0, 0, 256, 0)
    begin = 14 + len(head) + len(table)
    return struct.pack("<2sIHHI", b"BM", begin + len(data), 0, 0, begin) + head + table + data
