"""Scoring images that come as files, against folders, splits and saved statistics."""

import argparse
import importlib.machinery
import json
import subprocess
import sys
import types

import numpy as np
import pytest
import scipy.linalg
from PIL import Image

from sagan.cli import eval
from sagan.config import ConfigError
from sagan.data import image_sets
from sagan.evaluation import evaluate, reference

SIZE = 12


class MeanColour:
    """A network whose features are mean and spread of the three colours."""

    name = "colour"
    widths = {"pool": 6, "classifier_logits": 3}
    missing = {}

    def __init__(self, resizer):
        self.fingerprint = {"features": "colour", "weights_sha256": "00", "resizer": resizer}

    def __call__(self, images, outputs):
        x = images.astype(np.float32) / 255
        pool = np.concatenate([x.mean((1, 2)), x.std((1, 2))], axis=1)
        return {name: {"pool": pool, "classifier_logits": x.mean((1, 2))}[name] for name in outputs}


@pytest.fixture(autouse=True)
def colour(monkeypatch, tmp_path):
    module = types.ModuleType("colour_network")
    module.__spec__ = importlib.machinery.ModuleSpec("colour_network", None)
    module.load = lambda *, weights=None, resizer="tf": MeanColour(resizer)
    monkeypatch.setitem(sys.modules, "colour_network", module)
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))


def pictures(seed, n, size=SIZE):
    random = np.random.RandomState(seed)
    colours = random.randint(60, 200, (n, 1, 1, 3))
    return (colours + random.randint(-50, 50, (n, size, size, 3))).astype(np.uint8)


def write(folder, images, suffix="png", classes=None):
    for i, image in enumerate(images):
        place = folder / classes[i % len(classes)] if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:04}.{suffix}")
    return str(folder)


def score(fake, real, **options):
    return evaluate.run_images(
        fake, real, **{"features": "colour_network", "metrics": ("fid",)} | options
    )


def test_two_folders(tmp_path, capsys):
    fake, real = pictures(0, 40), pictures(1, 50)
    result = score(write(tmp_path / "a", fake), write(tmp_path / "b", real), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(json.dumps(result))

    x, y = (MeanColour("tf")(z, ["pool"])["pool"].astype(float) for z in (fake, real))
    root = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2)
    expected += np.trace(np.cov(x.T) + np.cov(y.T) - 2 * root)
    assert shown["metrics"] == {"fid40": pytest.approx(expected, rel=1e-6)}
    protocol = shown["protocol"]
    assert protocol["reference"] == "folder:b" and protocol["image_size"] == SIZE
    assert protocol["num_real"] == 50 and protocol["num_fake"] == 40
    assert protocol["batch_norm"] is protocol["ema"] is protocol["seed"] is None


def test_grey_and_jpeg_are_read(tmp_path):
    grey = [image[..., 0] for image in pictures(0, 20)]
    write(tmp_path / "a", grey[:10])
    write(tmp_path / "a", grey[10:], "jpg")
    rgb = write(tmp_path / "b", [np.repeat(image[..., None], 3, -1) for image in grey[:10]])
    images = image_sets.open_folder(tmp_path / "a", None)
    assert len(images) == 20
    png, labels = images.read(np.arange(1, 20, 2))  # 0000.jpg is 0, 0000.png 1
    assert labels is None
    expected, _ = image_sets.open_folder(tmp_path / "b", None).read(np.arange(10))
    np.testing.assert_array_equal(png, expected)
    assert score(str(tmp_path / "a"), rgb)["metrics"]["fid20"] >= 0


def test_mixed_sizes_are_refused_or_resized(tmp_path):
    fake = write(tmp_path / "a", [*pictures(0, 5), pictures(0, 1, 2 * SIZE)[0]])
    real = write(tmp_path / "b", pictures(1, 6))
    with pytest.raises(ConfigError, match="0005.png is 24x24, 0000.png 12x12.*--image-size N"):
        score(fake, real)
    assert score(fake, real, image_size=SIZE)["protocol"]["image_size"] == SIZE
    larger = write(tmp_path / "c", pictures(0, 6, 2 * SIZE))
    with pytest.raises(ConfigError, match="images are 24 px, the reference folder:b is 12 px"):
        score(larger, real)


def test_sub_folders_are_classes_matched_by_name(tmp_path, capsys):
    real = write(tmp_path / "b", pictures(1, 30), classes=["blue", "green", "red"])
    fake = write(tmp_path / "a", pictures(0, 20), classes=["red", "blue"])
    images = image_sets.open_folder(tmp_path / "a", None).with_classes(["blue", "green", "red"])
    _, labels = images.read(np.arange(20))
    assert labels is not None and sorted(np.unique(labels)) == [0, 2]
    shares = score(fake, real, metrics=["class_accuracy"])["metrics"]
    logits = MeanColour("tf")(images.read(np.arange(20))[0], ["classifier_logits"])
    expected = (logits["classifier_logits"].argmax(1) == labels).mean()
    assert shares == {"class_accuracy20": pytest.approx(expected)}
    with pytest.raises(ConfigError, match="class 1: 0 generated, 10 real"):
        score(fake, real, metrics=["intra_fid"])
    both = write(tmp_path / "c", pictures(2, 30), classes=["blue", "green", "red"])
    assert score(both, real, metrics=["intra_fid"])["metrics"]["intra_fid30"] > 0
    strange = write(tmp_path / "d", pictures(2, 30), classes=["pink", "green", "red"])
    with pytest.raises(ConfigError, match="class pink is not one of the reference's: blue, green"):
        score(strange, real, metrics=["intra_fid"])
    flat = write(tmp_path / "e", pictures(3, 30))
    with pytest.raises(ConfigError, match="intra_fid needs images with classes"):
        score(flat, real, metrics=["intra_fid"])


def test_a_classifier_of_other_classes_gives_no_accuracy(tmp_path):
    real = write(tmp_path / "b", pictures(1, 30), classes=["blue", "red"])
    fake = write(tmp_path / "a", pictures(0, 20), classes=["blue", "red"])
    with pytest.raises(
        ConfigError, match="images have 2 classes, those of --features colour are 3"
    ):
        score(fake, real, metrics=["class_accuracy"])


def test_folders_that_cannot_be_scored(tmp_path):
    real = write(tmp_path / "b", pictures(1, 6))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty: no images"):
        score(str(tmp_path / "empty"), real)
    with pytest.raises(ConfigError, match="is no folder and no preset or preset:split"):
        score(str(tmp_path / "absent"), real)
    write(tmp_path / "a", pictures(0, 2), classes=["x"])
    write(tmp_path / "a", pictures(0, 2))
    with pytest.raises(ConfigError, match="both images .* and folders"):
        score(str(tmp_path / "a"), real)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "page.png").write_text("<html>")
    with pytest.raises(ConfigError, match="page.png: not a readable image"):
        score(str(tmp_path / "c"), real)


def test_one_image_is_too_few_for_fid(tmp_path):
    real = write(tmp_path / "b", pictures(1, 6))
    with pytest.raises(ConfigError, match="fid needs at least 2 generated images, got 1"):
        score(write(tmp_path / "a", pictures(0, 1)), real)


def test_a_preset_split_and_a_part_of_it(tmp_path):
    result = score("debug:test", "debug:train", num_images=100, num_real=200)
    assert result["protocol"]["reference"] == "synthetic:train"
    assert result["protocol"]["num_real"] == 200 and "fid100" in result["metrics"]
    again = score("debug:test", "debug:train", num_images=100, num_real=200)
    assert again == result
    fake = write(tmp_path / "a", pictures(0, 20))
    assert score(fake, "debug")["protocol"]["image_size"] == SIZE  # as the images are


def test_saved_statistics_give_what_the_images_gave(tmp_path):
    fake, real = write(tmp_path / "a", pictures(0, 40)), write(tmp_path / "b", pictures(1, 50))
    direct = score(fake, real)
    network = MeanColour("tf")
    from sagan.evaluation import extract, metrics

    images = reference.open_images(real)
    made = reference.of(
        images, metrics.find(["fid"]), network, batch_size=16, share=extract.Share()
    )
    file = tmp_path / "real.npz"
    reference.save(file, made, network)
    saved = score(fake, str(file))
    assert saved["metrics"] == direct["metrics"]
    assert saved["protocol"] == direct["protocol"]
    with pytest.raises(ConfigError, match="other features than asked for: resizer: 'tf'.*'clean'"):
        score(fake, str(file), resizer="clean")
    with pytest.raises(ConfigError, match="--num-real: .*is whole as it was saved"):
        score(fake, str(file), num_real=5)
    with pytest.raises(ConfigError, match="lacks what metric pr needs.*sagan reference"):
        score(fake, str(file), metrics=["pr"])
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match="not statistics of `sagan reference`"):
        score(fake, str(file))


def parse(*words):
    parser = argparse.ArgumentParser()
    eval.register(parser.add_subparsers(required=True))
    args = parser.parse_args(list(words))
    return args.run(args)


def test_the_command_line(tmp_path, capsys):
    fake, real = write(tmp_path / "a", pictures(0, 40)), write(tmp_path / "b", pictures(1, 50))
    common = ["--reference", real, "--features", "colour_network", "--metrics", "fid"]
    assert parse("eval", "--images", fake, *common, "--json") == 0
    shown = capsys.readouterr().out
    (tmp_path / "a.json").write_text(shown)
    assert json.loads(shown)["metrics"]["fid40"] > 0
    assert parse("eval", "--images", fake, *common) == 0
    assert capsys.readouterr().out.split()[:2] == ["images", "fid40"]
    assert parse("compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")) == 0

    out = str(tmp_path / "debug.npz")
    words = ["debug", "--features", "colour_network", "--metrics", "fid,pr", "--out", out]
    assert parse("reference", *words) == 0
    text = capsys.readouterr().out
    assert "synthetic:train: 512 images of 8 px" in text and "pool.bank" in text


@pytest.mark.parametrize(
    "words, message",
    [
        (["eval"], "needs one WORKDIR, or --images and --reference"),
        (["eval", "--images", "a"], "--images needs --reference"),
        (["eval", "w", "--images", "a", "--reference", "b"], "exclude each other"),
        (["eval", "w", "train.steps=1"], "evaluated with its own config"),
        (["eval", "--images", "a", "--reference", "b", "--watch"], "--watch is for checkpoints"),
    ],
)
def test_words_that_do_not_go_together(words, message):
    with pytest.raises(ConfigError, match=message):
        parse(*words)


def test_help_does_not_import_jax():
    program = (
        "import argparse, sys; from sagan.cli import eval;"
        "eval.register(argparse.ArgumentParser().add_subparsers());"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
