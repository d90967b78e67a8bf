"""Which images of a folder or a zip are used, and their classes."""

import json
import os
import unicodedata
import zipfile

import numpy as np
import pytest
from PIL import Image

from sagan import data
from sagan.config import ConfigError, DataConfig
from sagan.data import image_sets
from sagan.data.listing import scan
from sagan.files.images import BadImage


def fill(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix.lower() in (".png", ".jfif", ".tif", ".tiff", ".bmp"):
            kind = {".jfif": "JPEG", ".png": "PNG", ".bmp": "BMP"}.get(file.suffix.lower(), "TIFF")
            Image.new("RGB", (6, 6), (len(path), 20, 30)).save(file, kind)
        else:
            file.write_text("x")
    return root


def zipped(root, inside=""):
    target = root.parent / f"{root.name}.zip"
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(root.rglob("*")):
            if file.is_file():
                archive.write(file, f"{inside}{file.relative_to(root)}")
    return target


@pytest.fixture(params=["folder", "zip", "zip of a folder"])
def place(request, tmp_path):
    """Turns a folder into each kind of place that images may be in."""
    if request.param == "folder":
        return lambda root: root
    return lambda root: zipped(root, "inside/" if request.param == "zip of a folder" else "")


def test_classes_are_folders_with_all_below_them(tmp_path, place):
    names = ("a cat, grey/x/y/1.PNG", "a cat, grey/2.jfif", "10/1.tif", "2/1.tiff", "日本/a.bmp")
    found = scan(place(fill(tmp_path / "set", *names)))
    assert found.class_names == ("10", "2", "a cat, grey", "日本")  # the order of code points
    assert sorted(zip(found.paths, found.labels, strict=True)) == sorted(
        zip(names, (2, 2, 0, 1, 3), strict=True)
    )
    assert found.notes == ()


def test_litter_is_ignored_and_the_rest_counted(tmp_path, place):
    litter = ("cat/._1.png", "__MACOSX/cat/1.png", "cat/Thumbs.db", ".DS_Store", "cat/.x/1.png",
              "@eaDir/1.png", "cat/.1.png")  # fmt: skip
    root = fill(tmp_path / "set", "cat/1.png", "dog/2.png", *litter)
    assert scan(place(root)).class_names == ("cat", "dog") and scan(place(root)).notes == ()
    fill(root, "cat/a.xyz", "dog/b.XYZ", "cat/words.txt", "labels.csv", "README")
    passed, tables = scan(place(root)).notes
    for text in ("2 .xyz", "1 .txt", "1 .csv", "1 without ending"):
        assert text in passed
    assert "labels.csv" in tables and "words.txt" not in tables


def test_a_zip_has_the_images_of_its_folder(tmp_path, place):
    root = fill(tmp_path / "set", "cat/1.png", "dog/22.png", "dog/333.png")
    config = DataConfig(name="folder", dir=str(place(root)))
    source = data.load(config, 4)
    assert [source[n]["image"][0, 0, 0] for n in range(3)] == [9, 10, 11]
    images = image_sets.open_folder(place(root), None)
    assert images.image_size == 6 and images.num_classes == 2
    assert data.load(config, 4).key == source.key != data.load(config, 5).key


@pytest.mark.parametrize(
    ("folders", "split", "expected"),
    [
        (("train", "val"), "train", "train"),
        (("train", "validation", "test"), "val", "validation"),
        (("Train", "Valid"), "train", "Train"),
        (("train", "fold1", "test"), "fold1", "fold1"),
        (("train", "fold1", "test"), "train", "train"),
    ],
)
def test_splits_are_recognised_and_said(tmp_path, place, folders, split, expected):
    names = [f"{folder}/{n}/{n}.png" for folder in folders for n in ("a", "b")]
    found = scan(place(fill(tmp_path / "set", *names)), split)
    assert found.class_names == ("a", "b") and len(found.paths) == 2
    assert all(path.startswith(f"{expected}/") for path in found.paths)
    assert len(found.notes) == 1 and all(folder in found.notes[0] for folder in folders)


def test_what_could_be_a_split_or_a_class(tmp_path):
    root = fill(tmp_path / "set", "car/1.png", "train/1.png")
    with pytest.raises(ConfigError, match="train.*car"):
        scan(root)
    assert scan(fill(tmp_path / "b", "valid/1.png", "invalid/1.png")).class_names == (
        "invalid",
        "valid",
    )
    with pytest.raises(ConfigError, match="data.split='train'.*test, val"):
        scan(fill(tmp_path / "c", "val/1.png", "test/1.png"))


def test_a_reference_follows_the_rule_of_training(tmp_path, capsys):
    root = fill(tmp_path / "set", *(f"{part}/{n}.png" for part in ("train", "val") for n in (1, 2)))
    fill(root, "val/3.png")
    assert len(image_sets.open_folder(root, None)) == 2
    assert "split train" in capsys.readouterr().err
    assert len(image_sets.open_folder(root, None, split="val")) == 3


CHUNKS = ("00000/1.png", "00000/2.png", "00001/3.png")


def stylegan(root, labels):
    fill(root, *CHUNKS)
    (root / "dataset.json").write_text(json.dumps(labels))
    return root


def test_stylegan_labels_are_read(tmp_path, place):
    labels = {"labels": [[path, n] for path, n in zip(CHUNKS, (2, 0, 2), strict=True)]}
    found = scan(place(stylegan(tmp_path / "set", labels)))
    assert found.class_names == ("0", "1", "2") and found.labels == [2, 0, 2]
    assert "dataset.json" in found.notes[0]
    without = scan(place(stylegan(tmp_path / "set", {"labels": None})))
    assert len(without.class_names) == 1 and len(without.paths) == 3


@pytest.mark.parametrize(
    ("labels", "facts"),
    [
        ([["00000/1.png", 1]], "2 of 3.*00000/2.png"),
        ([[path, [0.5, 1]] for path in CHUNKS], "pairs"),
        ([[path, -1] for path in CHUNKS], "pairs"),
        ([[path, 10**9] for path in CHUNKS], "pairs"),
        ("none", "pairs"),
    ],
)
def test_stylegan_labels_that_do_not_fit(tmp_path, labels, facts):
    with pytest.raises(ConfigError, match=f"dataset.json.*{facts}"):
        scan(stylegan(tmp_path / "set", {"labels": labels}))


def test_a_dataset_json_of_another_program_is_a_table_that_is_not_read(tmp_path):
    found = scan(stylegan(tmp_path / "set", {"title": "mine"}))
    assert found.class_names == ("00000", "00001") and "dataset.json" in found.notes[-1]
    (tmp_path / "set" / "dataset.json").write_text("{")
    with pytest.raises(ConfigError, match="dataset.json.*JSON"):
        scan(tmp_path / "set")


def test_links_are_followed_unless_they_lead_nowhere_or_back(tmp_path):
    fill(tmp_path / "far", "1.png", "in/2.png")
    root = fill(tmp_path / "set", "cat/1.png")
    (root / "dog").symlink_to(tmp_path / "far")
    (root / "cat" / "more.png").symlink_to(tmp_path / "far" / "1.png")
    found = scan(root)
    assert found.class_names == ("cat", "dog") and found.labels == [0, 0, 1, 1]
    for target in (root, root / "cat", tmp_path, "/", "nowhere"):
        link = root / "cat" / "link"
        link.symlink_to(target)
        with pytest.raises(ConfigError, match=f"{link}: a link to"):
            scan(root)
        link.unlink()


def test_class_names_are_composed(tmp_path):
    apart = unicodedata.normalize("NFD", "café")
    root = fill(tmp_path / "set", f"{apart}/1.png", "tea/1.png")
    assert scan(root).class_names == ("café", "tea")
    fill(root, "café/1.png")
    with pytest.raises(ConfigError, match="café.*twice"):
        scan(root)


@pytest.mark.parametrize(
    ("member", "facts"),
    [("../x.png", "inside the zip"), ("/etc/x.png", "inside the zip"), ("a\\..\\x.png", "inside")],
)
def test_names_in_a_zip_that_lead_outside_are_refused(tmp_path, member, facts):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a/1.png", b"x")
        archive.writestr(zipfile.ZipInfo(member), b"x")
    with pytest.raises(ConfigError, match=f"a.zip.*{facts}"):
        scan(tmp_path / "a.zip")


def test_other_zips_that_are_refused(tmp_path):
    (tmp_path / "no.zip").write_bytes(b"PK\3\4 no zip")
    with pytest.raises(ConfigError, match="no.zip.*zip"):
        scan(tmp_path / "no.zip")
    link = zipfile.ZipInfo("a/2.png")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    secret = zipfile.ZipInfo("a/3.png")
    for info, says in ((link, "link"), (secret, "encrypted")):
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
            archive.writestr(info, b"x")
        if info is secret:  # the flag, in the central directory
            content = bytearray((tmp_path / "b.zip").read_bytes())
            content[content.index(b"PK\1\2") + 8] |= 1
            (tmp_path / "b.zip").write_bytes(content)
        with pytest.raises(ConfigError, match=f"b.zip.*{says}"):
            scan(tmp_path / "b.zip")


def test_a_bomb_in_a_zip_is_refused_and_a_damaged_member_named(tmp_path, monkeypatch):
    root = fill(tmp_path / "set", "1.png", "2.png")
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(10**6))
        archive.write(root / "2.png", "2.png")
    monkeypatch.setattr("sagan.files.images.MAX_BYTES", 10**5)
    source = data.load(DataConfig(name="folder", dir=str(tmp_path / "set.zip")), 4, quiet=True)
    with pytest.raises(BadImage, match="set.zip/1.png: .*100000"):
        source[0]
    assert source[1]["image"].shape == (4, 4, 3)
    content = bytearray((tmp_path / "set.zip").read_bytes())
    content[content.index(b"2.png") + 20] ^= 255
    (tmp_path / "set.zip").write_bytes(content)
    with pytest.raises(BadImage, match="set.zip/2.png"):
        data.load(DataConfig(name="folder", dir=str(tmp_path / "set.zip")), 4, quiet=True)[1]


def test_another_process_opens_the_zip_anew(tmp_path, monkeypatch):
    """Forked processes would share the position in the file."""
    tree = scan(zipped(fill(tmp_path / "set", "1.png"))).tree
    opened = []
    real = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: opened.append(path) or real(path))
    with tree.open("1.png"):
        assert opened == []
    monkeypatch.setattr(os, "getpid", lambda: -1)
    for _ in range(2):
        with tree.open("1.png"):
            assert opened == [tree.root]


def test_sixteen_bits_that_use_a_sliver_of_their_range_are_told(tmp_path, capsys):
    values = np.arange(36, dtype=np.uint16).reshape(6, 6) * 100  # 12 bits in 16
    (tmp_path / "set").mkdir()
    Image.fromarray(values).save(tmp_path / "set" / "1.png")
    data.load(DataConfig(name="folder", dir=str(tmp_path / "set")), 4)
    assert "65535" in capsys.readouterr().err
    Image.fromarray(values * 18).save(tmp_path / "set" / "2.png")
    data.load(DataConfig(name="folder", dir=str(tmp_path / "set")), 4)
    assert "65535" not in capsys.readouterr().err


def test_notes_are_told_once_and_not_by_quiet_readers(tmp_path, capsys):
    config = DataConfig(name="folder", dir=str(fill(tmp_path / "set", "1.png", "a.xyz")))
    data.load(config, 4, quiet=True)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        data.load(config, 4)
    assert capsys.readouterr().err.count("1 .xyz") == 1
