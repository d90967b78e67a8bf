"""What `sagan sample` writes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sagan
from sagan import cli
from sagan.data import image_sets
from sagan.tasks import sample_folder


def test_single_files(workdir, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["sample", str(workdir), "--classes", "3,hue1", "--num", "2", "--out", str(out)]
    assert cli.main(words) == 0
    names = sorted(path.name for path in out.glob("*.png"))
    assert names == [f"hue{c}_{i:06}.png" for c in (1, 3) for i in (0, 1)]
    with Image.open(out / names[0]) as picture:
        assert picture.size == (8, 8) and picture.mode == "RGB"
        about = json.loads(picture.text["sagan"])
    same = {"step": 2, "seed": 0, "truncation": None}
    assert about == same | {"index": 0, "label": 1, "class": "hue1"}
    assert "4 images in" in capsys.readouterr().out


def test_without_classes_all_take_turns_and_prefixes_agree(workdir, tmp_path):
    for num, name in ((3, "few"), (6, "more")):
        words = ["sample", str(workdir), "--num", str(num), "--out", str(tmp_path / name)]
        assert cli.main(words) == 0
    few = {p.name: p.read_bytes() for p in (tmp_path / "few").glob("*.png")}
    more = {p.name: p.read_bytes() for p in (tmp_path / "more").glob("*.png")}
    assert len(few) == 3 and len(more) == 6
    assert few.items() <= more.items()
    assert {name[:4] for name in more} == {"hue0", "hue1", "hue2", "hue3"}


@pytest.mark.parametrize(
    ("extra", "size"),
    [
        (["--grid", "--classes", "0,2", "--num", "3"], (3 * 66 + 2, 2 * 66 + 2)),
        (["--interpolate", "0", "5", "--classes", "1"], (9 * 66 + 2, 66 + 2)),
        (["--interpolate", "0:hue1", "0:3", "--steps", "4"], (4 * 66 + 2, 66 + 2)),
        (["--attention", "--num", "2"], (4 * 132 + 4, 2 * 132 + 4)),
    ],
)
def test_sheets(workdir, tmp_path, extra, size):
    out = tmp_path / "sheet.png"
    assert cli.main(["sample", str(workdir), *extra, "--out", str(out)]) == 0
    with Image.open(out) as sheet:
        assert sheet.size == size


@pytest.mark.parametrize(
    ("extra", "facts"),
    [
        (["--classes", "7"], ["'7'", "0 … 3", "hue0, hue1"]),
        (["--classes", "cat"], ["'cat'", "hue0, hue1"]),
        (["--num", "0"], ["--num 0", ">= 1"]),
        (["--truncation", "2"], ["2.0", "(0, 1]"]),
        (["--seed", "-1"], ["--seed -1", "4294967295"]),
        (["--seed", "4294967296"], ["--seed 4294967296", "4294967295"]),
        (["--interpolate", "0", "4294967296"], ["--interpolate 4294967296", "4294967295"]),
        (["--interpolate", "-1", "0"], ["--interpolate -1", "4294967295"]),
        (["--interpolate", "a", "0"], ["--interpolate a", "INDEX:CLASS"]),
        (["--interpolate", "0:hue1", "0"], ["INDEX:CLASS"]),
        (["--interpolate", "0:hue1", "0:hue2", "--classes", "1"], ["--classes"]),
        (["--interpolate", "0:hue1", "0:hue7"], ["'hue7'", "did you mean"]),
        (["--interpolate", "0", "1", "--steps", "1"], ["--steps 1", ">= 2"]),
        (["--steps", "3"], ["--interpolate"]),
        (["--grid", "--folders"], ["--folders", "--grid"]),
    ],
)
def test_mistakes_end_in_2(workdir, tmp_path, capsys, extra, facts):
    assert cli.main(["sample", str(workdir), *extra, "--out", str(tmp_path / "o")]) == 2
    text = capsys.readouterr().err
    assert all(fact in text for fact in facts) and not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("extra", "name", "says"),
    [
        ([], "three.png", "--grid"),
        (["--grid"], "three.jpg", ".png"),
        ([], "three.npz", "folder"),
        (["--npz"], "three.png", ".npz"),
        (["--grid"], "three.gif", ".png"),
        (["--interpolate", "0", "1"], "three.mp4", ".gif"),
    ],
)
def test_no_folder_is_called_like_a_picture(workdir, tmp_path, capsys, extra, name, says):
    out = tmp_path / name
    words = ["sample", str(workdir), *extra, "--num", "1", "--out"]
    assert cli.main([*words, str(out)]) == 2
    assert says in capsys.readouterr().err and not out.exists()
    out.mkdir()
    assert cli.main([*words, str(out)]) == 0


@pytest.mark.parametrize("extra", [[], ["--grid"]])
def test_a_place_that_cannot_be_written_to_is_named(workdir, tmp_path, capsys, extra):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "deeper", tmp_path / "file", Path("/proc/nowhere")):
        assert cli.main(["sample", str(workdir), *extra, "--num", "1", "--out", str(out)]) == 2
        error = capsys.readouterr().err.splitlines()
        assert len(error) == 1 and str(out) in error[0]


def sampled(workdir, out, *words):
    return cli.main(["sample", str(workdir), "--num", "4", *words, "--out", str(out)])


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_have_a_frame_for_each_step(workdir, tmp_path, suffix):
    out = tmp_path / f"walk{suffix}"
    words = ["--interpolate", "0", "1", "--classes", "0,2", "--steps", "6", "--out", str(out)]
    assert cli.main(["sample", str(workdir), *words]) == 0
    with Image.open(out) as picture:
        assert (picture.n_frames, picture.size) == (6, (2 * 66 + 2, 66 + 2))


def test_an_npz_has_images_and_labels(workdir, tmp_path):
    source = sagan.load(workdir)
    out = tmp_path / "all.npz"
    assert sampled(workdir, out, "--npz", "--classes", "2,hue1") == 0
    with np.load(out, allow_pickle=False) as file:
        assert sorted(file) == ["arr_0", "arr_1"] and file["arr_0"].dtype == np.uint8
        np.testing.assert_array_equal(file["arr_1"], [2] * 4 + [1] * 4)
        np.testing.assert_array_equal(file["arr_0"], source.sample(classes=[2, 1], num=4))


def test_one_folder_for_each_class_is_read_as_data(workdir, tmp_path):
    out = tmp_path / "out"
    assert sampled(workdir, out, "--folders", "--classes", "0,2") == 0
    found = image_sets.open_folder(out, None)
    assert found.class_names == ("hue0", "hue2") and len(found) == 8


def test_images_of_two_calls_do_not_mix(workdir, tmp_path, capsys):
    out = tmp_path / "out"
    assert sampled(workdir, out) == 0
    before = {path.name: path.read_bytes() for path in out.glob("*.png")}
    assert sampled(workdir, out) == 0  # the same call, as after an interruption
    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == before
    assert sampled(workdir, out, "--seed", "1", "--classes", "0") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert sampled(workdir, out, "--seed", "1", "--classes", "0", "--overwrite") == 0
    assert {path.name for path in out.glob("*.png")} == {f"hue0_{i:06}.png" for i in range(4)}
    (out / "mine.png").write_bytes(b"")
    assert sampled(workdir, out, "--seed", "2", "--overwrite") == 2
    assert "mine.png" in capsys.readouterr().err and (out / "mine.png").exists()


def test_a_record_removes_nothing_outside_its_folder(workdir, tmp_path):
    out = tmp_path / "out"
    assert sampled(workdir, out) == 0
    (tmp_path / "other.png").touch()
    record = json.loads((out / ".samples.json").read_text())
    record["files"].append("../other.png")
    (out / ".samples.json").write_text(json.dumps(record))
    assert sampled(workdir, out, "--seed", "1", "--overwrite") == 0
    assert (tmp_path / "other.png").exists()


def test_classes_are_listed(workdir, capsys):
    assert cli.main(["sample", str(workdir), "--list-classes"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        [str(label), f"hue{label}"] for label in range(4)
    ]
    assert cli.main(["sample", str(workdir)]) == 2


def test_files_of_odd_class_names_are_told_apart():
    names = ["a/b", "a:b", "3", "..", "cat", "Cat", "sch\u00f6n und gut"]
    plain = sample_folder.plain_names(names)
    assert len({name.casefold() for name in plain}) == len(names)
    assert not any(set(name) & set("/:\\") or name in ("", "..") for name in plain)
    assert plain[2] == "3" and plain[-1] == names[-1]
