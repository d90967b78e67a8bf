"""Rows 24 to 27 of the fault matrix: faults of images on disk."""

import itertools
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from support import processes
from support.image_files import COLOUR, GREY, GREY_ALPHA, huge_png, orientation, pillow, png, seeds
from support.tiny import CONFIG

from sagan import cli, data
from sagan.config import ConfigError, replace
from sagan.data import decoded, image_sets
from sagan.data.pipeline import Feed, Pipeline, order
from sagan.files.images import FORMATS, BadImage
from sagan.parallel.devices import Devices

pytestmark = pytest.mark.faults

FUZZ = Path(__file__).parents[1] / "tools" / "fuzz_images.py"
FIRST = order(0, 3000, 0, 64)  # the images of a run of four steps
BAD = sorted([int(FIRST[20]), int(FIRST[50]), 2999])  # one of them the very last
BAD = [f"{'cat' if number < 1500 else 'dog'}/{number:04}.png" for number in BAD]
WORDS = [
    "model.name=support.dense_pair", "model.image_size=8", "model.z_dim=16",
    "train.batch_size=16", "train.steps=4",
    "log.every_steps=1", "sample.every_steps=0", "checkpoint.every_steps=4",
    "checkpoint.statistics_batches=0", "eval.every_steps=0",
]  # fmt: skip


def fill(folder):
    """Writes 3000 images in two classes, each of a different colour."""
    for number in range(3000):
        path = folder / ("cat" if number < 1500 else "dog") / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = (number % 250, number // 250, number % 7)
        path.write_bytes(png(np.broadcast_to(colour, (8, 8, 3)), 8, COLOUR))
    return folder


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """A folder in which one image in a thousand is unreadable: truncated, HTML, or empty."""
    folder = fill(tmp_path_factory.mktemp("damaged") / "set")
    whole = (folder / BAD[0]).read_bytes()
    for name, content in zip(BAD, (whole[:50], b"<!DOCTYPE html>\n<html>", b""), strict=True):
        (folder / name).write_bytes(content)
    return folder


def sagan(*words, environment):
    command = [sys.executable, "-m", "sagan", *map(str, words)]
    return processes.run(command, environment, timeout=300)


def feed(folder, **settings):
    config = replace(
        CONFIG,
        data={"name": "folder", "dir": str(folder), "flip": False, **settings},
        model={"num_classes": 2},
        train={"batch_size": 500, "steps": 8, "d_steps_per_g_step": 1},
    )
    source = data.load(config.data, 8)
    return Pipeline(Feed.of(config, 1), source, Devices(devices=jax.devices()[:1]))


@pytest.mark.parametrize("settings", [(), ("data.resident_bytes=0", "data.workers=1")])
def test_row_24_bad_images_are_skipped_counted_and_named(damaged, tmp_path, environment, settings):
    """Row 24: corrupt, HTML, empty image: skipped, counted, named, whether held or streamed."""
    words = ("train", "folder", f"data.dir={damaged}", *WORDS, *settings)
    done = sagan(*words, "--workdir", tmp_path / "run", environment=environment)
    assert done.returncode == 0, done.stderr
    met = BAD[:2] if settings else BAD  # a stream names those read so far
    assert f"{len(met)} of 3000" in done.stderr
    for name, why in zip(met, ("truncated", "<!DOCTYPE ht", "empty file"), strict=False):
        (line,) = [line for line in done.stderr.splitlines() if f"{damaged}/{name}" in line]
        assert "not a readable image" in line and why in line, line
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    values = [value for line in lines for value in json.loads(line).values()]
    assert len(lines) == 4 and np.all(np.isfinite(values))


def test_row_24_more_than_one_in_a_thousand_is_an_error(damaged, tmp_path, environment):
    """Row 24: fails above 0.1 %; with the count and the first names, before training starts."""
    folder = tmp_path / "set"
    folder.mkdir()
    for path in damaged.iterdir():
        (folder / path.name).mkdir()
        for file in path.iterdir():
            (folder / path.name / file.name).hardlink_to(file)
    bad = folder / "dog" / "2998.png"
    bad.unlink()
    bad.write_bytes(b"\x89PNG\r\n\x1a\n")
    words = ["train", "folder", f"data.dir={folder}", *WORDS, "--workdir", str(tmp_path / "run")]
    code = (
        "import sys; from sagan import cli\n"
        f"status = cli.main({words!r})\n"
        "assert 'sagan.training' not in sys.modules\n"
        "sys.exit(status)"
    )
    fresh = [sys.executable, "-c", code]  # which has not imported what trains
    done = subprocess.run(fresh, env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and not (tmp_path / "run").exists(), done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "4 of 3000" in line and "0.1%" in line
    assert all(f"{folder}/{name}: " in line for name in BAD[:2])
    with pytest.raises(ConfigError, match="4 of 3000.*0.1%"):
        for _ in feed(folder, resident_bytes=0, workers=0).batches((step, 1) for step in range(8)):
            pass


def test_row_24_check_lists_them(damaged, capsys):
    """Row 24: `sagan check` names all of them, and whether a run would continue."""
    words = ["check", "folder", f"data.dir={damaged}", *WORDS]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "unreadable   3;" in out
    assert all(f"{damaged}/{name}: not a readable image" in out for name in BAD)


def test_row_24_order_and_images_are_a_function_of_the_step_alone(damaged, capsys):
    """Row 24: the next readable image replaces it, held or streamed, from any step."""
    held = feed(damaged)
    files = sorted(damaged.rglob("*.png"))
    fitting = [number for number, file in enumerate(files) if str(file)[-12:] not in BAD]
    expected = [next((n for n in fitting if n >= number), fitting[0]) for number in range(3000)]
    colours = np.array([(n % 250, n // 250, n % 7) for n in expected])
    whole = jax.device_get(held.data)
    np.testing.assert_array_equal(whole["image"][:, 3, 3], colours)
    np.testing.assert_array_equal(whole["label"], np.array(expected) >= 1500)
    capsys.readouterr()
    streamed = feed(damaged, resident_bytes=0, workers=0)
    later = feed(damaged, resident_bytes=0, workers=0)
    dispatches = [(step, 1) for step in range(8)]
    resumed = itertools.chain([None] * 3, later.batches(dispatches[3:]))
    for step, (one, two, three) in enumerate(
        zip(held.batches(dispatches), streamed.batches(dispatches), resumed, strict=True)
    ):
        chosen = np.asarray(one["index"])
        np.testing.assert_array_equal(two["image"][..., 3, 3, :], colours[chosen])
        np.testing.assert_array_equal(two["label"], whole["label"][chosen])
        if step >= 3:
            np.testing.assert_array_equal(three["image"], two["image"])
            np.testing.assert_array_equal(three["label"], two["label"])
    err = capsys.readouterr().err
    assert all(1 <= err.count(f"{damaged}/{name}: ") <= 2 for name in BAD)  # once by a reader


def test_row_24_scores_leave_nothing_out(damaged, capsys, monkeypatch, tmp_path):
    """Row 24: a score is of exactly the images it names, so one unreadable file is an error."""
    words = ["eval", "--images", str(damaged), "--reference", str(damaged), "--image-size", "8"]
    assert cli.main([*words, "--features", "classifier", "--metrics", "classifier_fid"]) == 2
    assert f"{damaged}/{BAD[0]}: not a readable image" in capsys.readouterr().err
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(decoded, "MIN_CACHED_IMAGES", 10)
    feed(damaged)  # leaves the arrays in the cache, for the next run
    (cached,) = (tmp_path / "data").glob("*.images.npy")
    written = cached.stat().st_mtime_ns
    assert "3 of 3000" in capsys.readouterr().err
    feed(damaged)
    assert "3 of 3000" in capsys.readouterr().err and cached.stat().st_mtime_ns == written
    with pytest.raises(BadImage, match=f"{BAD[0]}: not a readable image"):
        image_sets.open_folder(damaged, 8).arrays()


def test_row_24_no_mutated_file_gets_past_the_reader():
    """Row 24: any damaged file gives an image or the documented error."""
    command = [sys.executable, str(FUZZ), "--count", "500", "--seed", str(os.getpid())]
    done = processes.run(command, timeout=300)
    assert done.returncode == 0, done.stdout
    for name in FORMATS:
        assert f"{name}: 500 files: " in done.stdout


def _tiff_bomb():
    """Returns a TIFF, where its width and height are stored, and others to put there."""
    content = seeds("TIFF")[3]
    at = content.index(struct.pack("<HHI", 256, 4, 1)) + 8
    return content, at, b"\xe0\x2e\0\0" + content[at + 4 : at + 12] + b"\xe0\x2e\0\0"


@pytest.mark.parametrize("name", FORMATS)
def test_row_25_bombs_are_refused_from_the_header(tmp_path, name):
    """Row 25: decompression bomb: rejected from the header, without the memory it asks for."""
    path = tmp_path / "bomb"
    if name == "PNG":
        path.write_bytes(huge_png(12000))
        assert path.stat().st_size < 20_000
        says = "12000 x 12000 pixels"
    else:
        content, at, size, says = {
            "JPEG": (seeds(name)[0], None, b"\xff\xdc\xff\xdc", "67108864"),
            "WEBP": (seeds(name)[-1], 24, b"\xfe\x3f\0\xfe\x3f\0", "67108864"),
            "TIFF": (*_tiff_bomb(), "12000 x 12000 pixels"),
            "BMP": (seeds(name)[3], 18, b"\xe0\x2e\0\0\xe0\x2e\0\0", "12000 x 12000 pixels"),
        }[name]
        at = content.index(b"\xff\xc0") + 5 if at is None else at
        path.write_bytes(content[:at] + size + content[at + len(size) :])
    code = (
        "import resource, sys; from pathlib import Path; from sagan.files import images\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "images.decode(Path(sys.argv[2])); before = peak()\n"
        "try: images.decode(Path(sys.argv[1]))\n"
        "except images.BadImage as error: print(error)\n"
        "assert peak() - before < 20_000, (before, peak())\n"  # KiB
    )
    (tmp_path / "small.png").write_bytes(png(np.zeros((4, 4), int), 8, GREY))
    words = [sys.executable, "-c", code, str(path), str(tmp_path / "small.png")]
    done = processes.run(words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{path}: ") and says in done.stdout


def test_row_26_odd_images_are_converted_as_documented(tmp_path, capsys):
    """Row 26: wrong size, greyscale, CMYK, EXIF-rotated: one documented conversion each."""
    x = np.random.default_rng(0).integers(0, 256, (12, 8, 3))
    files = {
        "a_tall": (png(x, 8, COLOUR), x[2:10]),
        "b_grey": (png(x[:8, :, 0], 8, GREY), np.repeat(x[:8, :, :1], 3, -1)),
        "c_clear": (png(x[:8, :, :2] * [1, 0], 8, GREY_ALPHA), np.zeros((8, 8, 3))),
        # Stored upright, shown on its side: row 0 is the right-hand side.
        "d_turned": (png(x, 8, COLOUR, exif=orientation(6)), x[::-1].transpose(1, 0, 2)[:, 2:10]),
        "e_ink": (pillow(np.full((8, 8, 3), 255), "JPEG", "CMYK"), np.full((8, 8, 3), 255)),
        "f_wide": (png(np.full((9, 50, 3), 77), 8, COLOUR), np.full((8, 8, 3), 77)),
    }
    for name, (content, _) in files.items():
        (tmp_path / f"{name}.png").write_bytes(content)
    source = data.load(replace(CONFIG, data={"name": "folder", "dir": str(tmp_path)}).data, 8)
    for number, (name, (_, expected)) in enumerate(files.items()):
        np.testing.assert_array_equal(source[number]["image"], expected, err_msg=name)
    words = ["check", "folder", f"data.dir={tmp_path}", *WORDS, "train.batch_size=6"]
    assert cli.main(words) == 0
    assert "unreadable   0" in capsys.readouterr().out


def test_row_27_too_few_images_end_before_compiling(tmp_path, environment):
    """Row 27: empty dataset, or fewer images than a batch: error before compiling."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "few" / "a").mkdir(parents=True)
    for number in range(15):
        (tmp_path / "few" / "a" / f"{number}.png").write_bytes(seeds("PNG")[0])
    code = (
        "import sys; from sagan import cli\n"
        f"words = {WORDS!r}\n"
        "for name in ('empty', 'few'):\n"
        "    place = ['--workdir', sys.argv[1] + '/run']\n"
        "    folder = 'data.dir=' + sys.argv[1] + '/' + name\n"
        "    assert cli.main(['train', 'folder', folder, *words, *place]) == 2\n"
        "    assert 'sagan.training' not in sys.modules, name"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    none, few = done.stderr.strip().splitlines()
    assert f"data.dir={tmp_path}/empty" in none
    assert "15" in few and "train.batch_size=16" in few
    assert not (tmp_path / "run").exists()
