"""Every source is a table of uint8 images with random access; what each source refuses."""

import json

import numpy as np
import pytest
from PIL import Image
from support import tiny_tfds

from sagan import data
from sagan.config import ConfigError, DataConfig
from sagan.config import plugins as registry
from sagan.data import image_sets
from sagan.files import images


def _write(path, colour=(10, 20, 30), size=(12, 8), mode="RGB", **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path, **kwargs)


@pytest.fixture
def folder(tmp_path):
    for number in range(3):
        _write(tmp_path / "cat" / f"{number}.png", (200, 0, 0))
        _write(tmp_path / "dog" / f"{number}.jpg", (0, 200, 0), quality=95)
    return tmp_path


@pytest.fixture
def config_of(folder, request):
    def make(name):
        if name == "tfds":
            root = request.getfixturevalue("test_data")
            return DataConfig(name="tfds/cifar10", dir=str(root / "tfds"))
        if name == "karpathy":
            entry = {"filename": "cat/0.png", "split": "train", "sentences": [{"tokens": ["cat"]}]}
            images = [entry, entry | {"filename": "dog/1.jpg"}]
            (folder / "dataset.json").write_text(json.dumps({"images": images}))
            return DataConfig(name=name, dir=str(folder), min_word_count=1)
        if name == "tfds_captions":
            tiny_tfds.prepare(folder)
            name, config = "tfds_captions/squares_with_captions", {"min_word_count": 1}
            return DataConfig(name=name, dir=str(folder), **config)
        return DataConfig(name=name, dir=str(folder))

    return make


@pytest.mark.parametrize("name", registry.names("data"))
def test_contract(name, config_of):
    config = config_of(name)
    source = data.load(config, 32)
    assert len(source) > 0 and len(set(source.class_names)) == len(source.class_names)
    assert source.key == data.load(config, 32).key != data.load(config, 24).key
    for index in (0, len(source) - 1):
        example, again = source[index], source[index]
        assert example["image"].shape == (32, 32, 3) and example["image"].dtype == np.uint8
        assert 0 <= example["label"] < len(source.class_names)
        np.testing.assert_array_equal(example["image"], again["image"])
    pictures, labels = data.read(source, [1, 0])
    np.testing.assert_array_equal(pictures[1], source[0]["image"])
    assert labels.dtype == np.int32 and labels[0] == source[1]["label"]


def test_cifar10_is_read_bit_for_bit_without_tensorflow(test_data):
    import sys

    source = data.load(DataConfig(name="tfds/cifar10", dir=str(test_data / "tfds")), 32)
    assert len(source) == 50_000 and source.class_names[3] == "cat"
    labels = data.read(source, range(200))[1]
    assert set(labels) == set(range(10))
    assert (
        len(
            data.load(
                DataConfig(name="tfds/cifar10", dir=str(test_data / "tfds")), 32, split="test"
            )
        )
        == 10_000
    )
    assert "tensorflow" not in sys.modules


def test_digits_have_two_disjoint_splits():
    parts = {s: data.load(DataConfig(), 8, split=s) for s in ("train", "test", "all")}
    assert len(parts["train"]) + len(parts["test"]) == len(parts["all"]) == 1797


def test_folder_classes_are_its_sub_folders(folder):
    source = data.load(DataConfig(name="folder", dir=str(folder)), 8)
    assert source.class_names == ("cat", "dog") and len(source) == 6
    assert source[0]["label"] == 0 and source[0]["image"][4, 4].tolist() == [200, 0, 0]
    assert source[5]["label"] == 1


def test_a_part_keeps_the_numbers_of_other_class_names(folder):
    images = image_sets.open_folder(folder, 8).with_classes(["fox", "dog", "cat"])
    pixels, labels = images.part(5).read(np.arange(5))
    assert [("dog", "cat")[red] for red in (pixels[:, 4, 4, 0] > 100).astype(int)] == [
        ("fox", "dog", "cat")[label] for label in labels
    ]


def test_folder_splits_and_flat_folders(folder):
    for split in ("train", "val"):
        _write(folder / "set" / split / "a" / "x.png")
    _write(folder / "set" / "val" / "a" / "y.png")
    config = DataConfig(name="folder", dir=str(folder / "set"))
    assert len(data.load(config, 8)) == 1
    assert len(data.load(config, 8, split="val")) == 2
    flat = data.load(DataConfig(name="folder", dir=str(folder / "cat")), 8)
    assert len(flat.class_names) == 1


def test_a_changed_folder_has_another_key(folder):
    config = DataConfig(name="folder", dir=str(folder))
    before = data.load(config, 8).key
    _write(folder / "cat" / "0.png", (1, 2, 3), size=(30, 30))
    assert data.load(config, 8).key != before


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        ({"name": "folder"}, ["data.dir"]),
        ({"name": "folder", "dir": "/nowhere"}, ["data.dir=/nowhere"]),
        (
            {"name": "cifar"},
            ["data.name='cifar'", "digits, folder, karpathy, scenes, synthetic, tfds"],
        ),
        ({"name": "no.module"}, ["data.name='no.module'"]),
        ({"name": "digits", "split": "val"}, ["data.split='val'", "train, test, all"]),
        ({"name": "digits", "split": "tests"}, ["data.split='tests'", "did you mean test"]),
        ({"name": "tfds"}, ["data.name=tfds", "tfds/cifar10"]),
        ({"name": "tfds/cifar10", "dir": "/nowhere"}, ["data.dir=/nowhere", "'cifar10'"]),
        ({"name": "tfds_captions"}, ["data.name=tfds_captions", "tfds_captions/coco_captions"]),
    ],
)
def test_mistakes_say_what_was_got_and_what_is_allowed(config, facts):
    with pytest.raises(ConfigError) as error:
        data.load(DataConfig(**config), 8)
    assert [fact for fact in facts if fact not in str(error.value)] == []


def test_empty_folders_are_refused(tmp_path):
    config = DataConfig(name="folder", dir=str(tmp_path))
    with pytest.raises(ConfigError, match=".png"):
        data.load(config, 8)
    _write(tmp_path / "full" / "a.png")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(ConfigError, match="class other"):
        data.load(config, 8)


def test_only_the_default_split_may_be_the_whole_folder(folder):
    config = DataConfig(name="folder", dir=str(folder))
    with pytest.raises(ConfigError, match=r"data.split='test'.*cat, dog$"):
        data.load(config, 8, split="test")
    flat = DataConfig(name="folder", dir=str(folder / "cat"), split="val")
    with pytest.raises(ConfigError, match="data.split='val'.*none"):
        data.load(flat, 8)


def test_images_beside_classes_are_refused_by_all_who_read_folders(folder):
    _write(folder / "stray.png")
    with pytest.raises(ConfigError, match="stray.png"):
        data.load(DataConfig(name="folder", dir=str(folder)), 8)
    with pytest.raises(ConfigError, match="stray.png"):
        image_sets.open_folder(folder, 8)


@pytest.mark.parametrize("kind", ["classes", "flat"])
def test_hidden_and_empty_sub_folders_do_not_count(folder, kind):
    root = folder if kind == "classes" else folder / "cat"
    whole = data.load(DataConfig(name="folder", dir=str(root)), 8)
    _write(root / ".cache" / "a.png")
    _write(folder / "cat" / ".thumbnails" / "a.png")
    (root / "empty").mkdir()
    again = data.load(DataConfig(name="folder", dir=str(root)), 8)
    assert again.class_names == whole.class_names and again.key == whole.key
    assert len(image_sets.open_folder(root, 8)) == len(whole)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    _write(tmp_path / "a.png", (255, 255, 255), mode=mode)
    picture = images.decode(tmp_path / "a.png")
    assert picture.mode == "RGB" and picture.getpixel((3, 3)) == (255, 255, 255)


def test_documented_conversions(tmp_path):
    _write(tmp_path / "cmyk.jpg", (200, 100, 50), mode="CMYK")
    assert images.decode(tmp_path / "cmyk.jpg").mode == "RGB"
    deep = Image.fromarray(np.full((4, 4), 0x8040, np.uint16))
    deep.save(tmp_path / "deep.png")
    assert images.decode(tmp_path / "deep.png").getpixel((0, 0)) == (0x80,) * 3
    clear = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    clear.save(tmp_path / "clear.png")
    assert images.decode(tmp_path / "clear.png").getpixel((0, 0)) == (0, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees
    _write(tmp_path / "turned.jpg", size=(12, 8), exif=exif)
    assert images.decode(tmp_path / "turned.jpg").size == (8, 12)


def test_unreadable_files_are_named(tmp_path):
    good = tmp_path / "good.png"
    _write(good)
    for name, content in (
        ("cut.png", good.read_bytes()[:40]),
        ("empty.png", b""),
        ("page.png", b"<html>not found</html>"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(images.BadImage, match=name):
            images.decode(tmp_path / name)


def test_a_bomb_is_refused_from_its_header(tmp_path, monkeypatch):
    _write(tmp_path / "big.png", size=(64, 64))
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 64 - 1)
    with pytest.raises(ConfigError, match="64 x 64 .*4095"):
        images.decode(tmp_path / "big.png")


def test_a_set_prepared_for_reading_in_order_is_refused(test_data, tmp_path):
    prepared, other = test_data / "tfds/cifar10/3.0.2", tmp_path / "cifar10" / "3.0.2"
    other.mkdir(parents=True)
    for name in ("dataset_info.json", "features.json", "label.labels.txt"):
        text = (prepared / name).read_text().replace("array_record", "tfrecord")
        (other / name).write_text(text)
    with pytest.raises(ConfigError, match="array_record"):
        data.load(DataConfig(name="tfds/cifar10", dir=str(tmp_path)), 32)


def test_the_newest_version_is_by_number(test_data, tmp_path):
    whole = test_data / "tfds/cifar10/3.0.2"
    for version in ("2.9.9", "3.0.2"):  # not readable, so opening one of them would fail
        (tmp_path / "cifar10" / version).mkdir(parents=True)
        (tmp_path / "cifar10" / version / "dataset_info.json").touch()
    newest = tmp_path / "cifar10" / "3.0.10"
    newest.mkdir()
    for file in whole.iterdir():
        if file.name == "dataset_info.json":
            (newest / file.name).write_text(file.read_text().replace('"3.0.2"', '"3.0.10"'))
        else:
            (newest / file.name).symlink_to(file)
    assert len(data.load(DataConfig(name="tfds/cifar10", dir=str(tmp_path)), 8)) == 50_000
