"""What each kind of file becomes, pixel by pixel, compared with the documented table in numpy."""

import io

import numpy as np
import pytest
from PIL import Image
from support.image_files import (
    COLOUR,
    COLOUR_ALPHA,
    GREY,
    GREY_ALPHA,
    PALETTE,
    orientation,
    pillow,
    png,
    seeds,
)

from sagan.config import ConfigError
from sagan.files import images
from sagan.files.images import BadImage

RANDOM = np.random.default_rng(3)


def noise(*shape, limit=256):
    return RANDOM.integers(0, limit, (6, 7, *shape))


def read(tmp_path, data, name="file.png"):
    path = tmp_path / name
    path.write_bytes(data)
    picture = images.decode(path)
    assert picture.mode == "RGB"
    return np.asarray(picture)


def grey(values):
    return np.repeat(np.asarray(values)[..., None], 3, axis=-1)


def over_black(colour, alpha):
    return np.floor(np.asarray(colour) * np.asarray(alpha)[..., None] / 255 + 0.5)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_is_spread_over_the_whole_range(tmp_path, depth):
    x = noise(limit=2**depth)
    expected = grey(x * 255 // (2**depth - 1))
    np.testing.assert_array_equal(read(tmp_path, png(x, depth, GREY)), expected)


def test_sixteen_bits_keep_their_high_byte(tmp_path):
    x = noise(limit=1 << 16)
    x[0, :4] = 0, 255, 256, 65535
    np.testing.assert_array_equal(read(tmp_path, png(x, 16, GREY)), grey(x // 256))
    x = noise(3, limit=1 << 16)
    np.testing.assert_array_equal(read(tmp_path, png(x, 16, COLOUR)), x // 256)
    x = noise(4, limit=1 << 16)
    expected = over_black(x[..., :3] // 256, x[..., 3] // 256)
    np.testing.assert_array_equal(read(tmp_path, png(x, 16, COLOUR_ALPHA)), expected)


def test_colour_is_itself(tmp_path):
    x = noise(3)
    np.testing.assert_array_equal(read(tmp_path, png(x, 8, COLOUR)), x)
    for name, options in (("WEBP", {"lossless": True}), ("BMP", {})):
        np.testing.assert_array_equal(read(tmp_path, pillow(x, name, **options)), x)


def test_alpha_is_laid_over_black(tmp_path):
    x = noise(4)
    x[0, :3, 3] = 0, 255, 1
    expected = over_black(x[..., :3], x[..., 3])
    np.testing.assert_array_equal(read(tmp_path, png(x, 8, COLOUR_ALPHA)), expected)
    x = noise(2)
    expected = over_black(grey(x[..., 0]), x[..., 1])
    np.testing.assert_array_equal(read(tmp_path, png(x, 8, GREY_ALPHA)), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palettes_are_looked_up_with_their_transparency(tmp_path, depth):
    x, table = noise(limit=2**depth), RANDOM.integers(0, 256, (2**depth, 3))
    np.testing.assert_array_equal(read(tmp_path, png(x, depth, PALETTE, table)), table[x])
    alpha = RANDOM.integers(0, 256, 2**depth)
    one_clear = np.where(np.arange(2**depth) == 1, 0, 255)
    for given in (alpha, one_clear):
        trns = given.astype(np.uint8).tobytes()
        expected = over_black(table[x], given[x])
        np.testing.assert_array_equal(read(tmp_path, png(x, depth, PALETTE, table, trns)), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_the_transparent_grey_becomes_black(tmp_path, depth):
    x = noise(limit=2**depth)
    key = int(x.max())
    wide = (x * 255 // (2**depth - 1)) if depth < 16 else x // 256
    expected = grey(np.where(x == key, 0, wide))
    assert expected.max() < grey(wide).max() or depth == 16
    got = read(tmp_path, png(x, depth, GREY, trns=key.to_bytes(2, "big")))
    np.testing.assert_array_equal(got, expected)


def test_the_transparent_colour_becomes_black(tmp_path):
    x = noise(3)
    x[1, 2], x[3, 3], x[3, 4] = (9, 8, 7), (9, 8, 7), (9, 8, 6)
    trns = bytes((0, 9, 0, 8, 0, 7))
    expected = x.copy()
    expected[1, 2] = expected[3, 3] = 0
    np.testing.assert_array_equal(read(tmp_path, png(x, 8, COLOUR, trns=trns)), expected)
    with pytest.raises(BadImage, match="16-bit colour with a transparent colour"):
        read(tmp_path, png(256 * x, 16, COLOUR, trns=trns))


def tiff(x, **options):
    file = io.BytesIO()
    Image.fromarray(x).save(file, "TIFF", **options)
    return file.getvalue()


def test_tiff_is_read_and_what_has_no_known_range_refused(tmp_path):
    x = noise(3).astype(np.uint8)
    for options in ({}, {"compression": "tiff_lzw"}):
        np.testing.assert_array_equal(read(tmp_path, tiff(x, **options)), x)
    pages = tiff(x, save_all=True, append_images=[Image.fromarray(255 - x)])
    np.testing.assert_array_equal(read(tmp_path, pages), x)
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(read(tmp_path, tiff(x, exif=exif)), TURNS[6](x))
    deep = noise(limit=1 << 16).astype(np.uint16)
    np.testing.assert_array_equal(read(tmp_path, tiff(deep)), grey(deep >> 8))
    for wrong in (deep.astype(np.int32), deep.astype(np.float32)):
        with pytest.raises(BadImage, match="32 bits"):
            read(tmp_path, tiff(wrong))


def test_three_ways_to_make_a_square():
    x = np.full((4, 8, 3), 200, np.uint8)
    x[:, :2] = 0
    image = Image.fromarray(x)
    assert images.fit(image, 4).min() == 200
    padded = images.fit(image, 8, "pad")
    np.testing.assert_array_equal(padded[2:6], x)
    assert padded[:2].max() == padded[6:].max() == 0
    stretched = images.fit(image, 4, "stretch")
    assert stretched[:, 0].max() < 50 and stretched[:, 3].min() > 180


def test_inks_become_light(tmp_path):
    data = pillow(noise(3), "JPEG", "CMYK", quality=100)
    with Image.open(io.BytesIO(data)) as stored:
        ink = np.asarray(stored).astype(float)
    expected = np.floor((255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255 + 0.5)
    np.testing.assert_array_equal(read(tmp_path, data, "a.jpg"), expected)


TURNS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),  # what is row 0 as stored is the left side as seen
    6: lambda x: x[::-1].transpose(1, 0, 2),  # row 0 is the right side
    7: lambda x: x[::-1, ::-1].transpose(1, 0, 2),
    8: lambda x: x[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("number", TURNS)
def test_exif_orientation_is_applied(tmp_path, number):
    x = noise(3)
    expected = TURNS[number](x)
    got = read(tmp_path, png(x, 8, COLOUR, exif=orientation(number)))
    np.testing.assert_array_equal(got, expected)
    stored = pillow(x, "WEBP", lossless=True, exif=b"Exif\0\0" + orientation(number))
    np.testing.assert_array_equal(read(tmp_path, stored), expected)
    deep = noise(limit=1 << 16)  # in a mode of its own
    got = read(tmp_path, png(deep, 16, GREY, exif=orientation(number)))
    np.testing.assert_array_equal(got, TURNS[number](grey(deep // 256)))


@pytest.mark.parametrize("exif", [b"", b"II*\0", b"garbage, not TIFF", orientation(0xFFFF)])
def test_exif_that_says_nothing_counts_as_upright(tmp_path, exif):
    x = noise(3)
    np.testing.assert_array_equal(read(tmp_path, png(x, 8, COLOUR, exif=exif)), x)


def test_the_first_of_several_frames(tmp_path):
    frames = [np.full((6, 6, 3), value, np.uint8) for value in (10, 200)]
    file = io.BytesIO()
    first, second = map(Image.fromarray, frames)
    first.save(file, "WEBP", save_all=True, append_images=[second], lossless=True)
    np.testing.assert_array_equal(read(tmp_path, file.getvalue()), frames[0])


@pytest.mark.parametrize("name", images.FORMATS)
def test_every_seed_of_the_fuzzer_can_be_read(tmp_path, name):
    for data in seeds(name):
        assert set(read(tmp_path, data).shape) <= {9, 12, 3}


def test_content_decides_and_other_formats_are_refused(tmp_path):
    x = noise(3)
    np.testing.assert_array_equal(read(tmp_path, png(x, 8, COLOUR), "really_a_png.jpg"), x)
    for name in ("GIF", "PPM"):
        with pytest.raises(BadImage, match="not a readable image .begins with.*PNG, JPEG, WEBP"):
            read(tmp_path, pillow(x, name))


def test_what_may_be_otherwise_later_is_no_bad_image(tmp_path):
    """A file that cannot be opened must stop the run: replacing it would depend on the moment."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    for name, says in (
        ("folder.png", "not a file"),
        ("link.png", "No such file"),
        ("absent.png", "No such file"),
    ):
        with pytest.raises(ConfigError, match=f"{name}: .*{says}") as caught:
            images.decode(tmp_path / name)
        assert not isinstance(caught.value, BadImage)
