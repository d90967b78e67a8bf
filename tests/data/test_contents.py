"""A set's contents are told apart by names and sizes, wherever and whenever it was written."""

import os
import shutil

import pytest
from support.image_folders import pictures, write

from sagan import data
from sagan.config import DataConfig
from sagan.data import contents, decoded


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "set", pictures(0, 12), classes=["cat", "dog"])
    return tmp_path / "set"


def of(place):
    return contents.of(data.load(DataConfig(name="folder", dir=str(place)), 8))


def test_a_copy_a_zip_and_another_time_are_the_same_images(root, tmp_path):
    before = of(root)
    assert before.keys() == {"cat", "dog"} and contents.changes(before, dict(before)) == ""
    moved = shutil.copytree(root, tmp_path / "moved" / "train")
    os.utime(moved / "cat" / "0000.png", (1, 1))
    zipped = shutil.make_archive(str(tmp_path / "zipped"), "zip", root)
    for place in (moved, moved.parent, zipped):
        assert of(place) == before
    source = data.load(DataConfig(name="folder", dir=str(root)), 8)
    assert contents.of(decoded.decode_up_to(source, 8, 1 << 30)) == before


def test_what_changed_is_said(root):
    before = of(root)
    write(root / "cat" / "more", pictures(1, 2))
    (root / "dog" / "0001.png").rename(root / "dog" / "0000.png")
    assert contents.changes(before, of(root)) == "cat: 6 -> 8 images; dog: other 6 images"
    shutil.rmtree(root / "dog")
    assert "dog: 6 -> 0 images" in contents.changes(before, of(root))


def test_sources_without_files_are_told_apart_by_number():
    one, other = (
        contents.of(data.load(DataConfig(name="digits", split=split), 8))
        for split in ("train", "all")
    )
    assert contents.changes(one, other) == "all images: 1,437 -> 1,797 images"


def test_only_the_first_classes_are_named():
    many = {str(n): "1 x" for n in range(9)}
    assert contents.changes({}, many).endswith("4: 0 -> 1 images and 4 more classes")
