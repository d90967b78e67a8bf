"""Scoring images that come as files, against folders, splits and saved statistics."""

import json

import numpy as np
import pytest
import scipy.linalg
from support.colour_network import MeanColour
from support.image_folders import SIZE, pictures, write

from sagan.config import ConfigError
from sagan.data import image_sets
from sagan.evaluation import ScoreSpec, image_files, metrics, reference, reference_files


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))


def score(fake, real, *, image_size=None, num_images=None, as_json=False, **changes):
    spec = ScoreSpec(
        **{"features": "support.colour_network", "metrics": ("fid",), "reference": real} | changes
    )
    images = reference.open_images(fake, image_size=image_size).part(num_images)
    return image_files.score_images(images, spec, image_size=image_size, as_json=as_json)


def test_two_folders(tmp_path, capsys):
    fake, real = pictures(0, 40), pictures(1, 50)
    result = score(write(tmp_path / "a", fake), write(tmp_path / "b", real), as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown == json.loads(json.dumps(result))

    x, y = (MeanColour()(z, ["pool"])["pool"].astype(float) for z in (fake, real))
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
    with pytest.raises(ConfigError, match="0005.png .*24x24.*12x12"):
        score(fake, real)
    assert score(fake, real, image_size=SIZE)["protocol"]["image_size"] == SIZE
    larger = write(tmp_path / "c", pictures(0, 6, 2 * SIZE))
    with pytest.raises(ConfigError, match="24 px.*folder:b.*12 px"):
        score(larger, real)


def test_sub_folders_are_classes_matched_by_name(tmp_path):
    real = write(tmp_path / "b", pictures(1, 30), classes=["blue", "green", "red"])
    fake = write(tmp_path / "a", pictures(0, 20), classes=["red", "blue"])
    images = image_sets.open_folder(tmp_path / "a", None).with_classes(["blue", "green", "red"])
    _, labels = images.read(np.arange(20))
    assert labels is not None and sorted(np.unique(labels)) == [0, 2]
    found = score(fake, real, metrics=("class_accuracy",))["metrics"]
    logits = MeanColour()(images.read(np.arange(20))[0], ["classifier_logits"])
    expected = (logits["classifier_logits"].argmax(1) == labels).mean()
    assert found == {"class_accuracy20": pytest.approx(expected)}
    with pytest.raises(ConfigError, match="class 1: 0 generated, 10 real"):
        score(fake, real, metrics=("intra_fid",))
    both = write(tmp_path / "c", pictures(2, 30), classes=["blue", "green", "red"])
    assert score(both, real, metrics=("intra_fid",))["metrics"]["intra_fid30"] > 0
    strange = write(tmp_path / "d", pictures(2, 30), classes=["pink", "green", "red"])
    with pytest.raises(ConfigError, match="folder:d .*pink.*blue, green, red"):
        score(strange, real, metrics=("intra_fid",))
    flat = write(tmp_path / "e", pictures(3, 30))
    with pytest.raises(ConfigError, match="intra_fid .*classes"):
        score(flat, real, metrics=("intra_fid",))


def test_a_classifier_of_other_classes_has_no_accuracy(tmp_path):
    real = write(tmp_path / "b", pictures(1, 30), classes=["blue", "red"])
    fake = write(tmp_path / "a", pictures(0, 20), classes=["blue", "red"])
    with pytest.raises(ConfigError, match="class_accuracy.* 2 classes.*colour has 3"):
        score(fake, real, metrics=("class_accuracy",))


def test_folders_that_cannot_be_scored(tmp_path):
    real = write(tmp_path / "b", pictures(1, 6))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty"):
        score(str(tmp_path / "empty"), real)
    with pytest.raises(ConfigError, match="absent.*digits"):  # lists the presets
        score(str(tmp_path / "absent"), real)
    write(tmp_path / "a", pictures(0, 2), classes=["x"])
    write(tmp_path / "a", pictures(0, 2))
    with pytest.raises(ConfigError, match=str(tmp_path / "a")):
        score(str(tmp_path / "a"), real)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "page.png").write_text("<html>")
    with pytest.raises(ConfigError, match="page.png"):
        score(str(tmp_path / "c"), real)


def test_what_does_not_suffice_for_a_metric(tmp_path):
    real, one = write(tmp_path / "b", pictures(1, 6)), write(tmp_path / "a", pictures(0, 1))
    with pytest.raises(ConfigError, match="fid .*2 generated .*1"):
        score(one, real)
    with pytest.raises(ConfigError, match="reference"):
        score(real, None)


def test_a_preset_split_and_a_part_of_it(tmp_path):
    result = score("debug:test", "debug:train", num_images=100, num_real=200)
    assert result["protocol"]["reference"] == "synthetic:train"
    assert result["protocol"]["num_real"] == 200 and "fid100" in result["metrics"]
    again = score("debug:test", "debug:train", num_images=100, num_real=200)
    assert again == result
    fake = write(tmp_path / "a", pictures(0, 20))
    assert score(fake, "debug")["protocol"]["image_size"] == SIZE  # that of the scored images


def test_saved_statistics_give_the_same_scores_as_the_images(tmp_path):
    fake, real = write(tmp_path / "a", pictures(0, 40)), write(tmp_path / "b", pictures(1, 50))
    direct = score(fake, real)
    images, network = reference.open_images(real), MeanColour()
    made = reference.of(images, metrics.find(["fid"]), network, batch_size=16)
    file = tmp_path / "real.npz"
    reference_files.save(file, made, network)
    saved = score(fake, str(file))
    assert saved["metrics"] == direct["metrics"]
    assert saved["protocol"] == direct["protocol"]
    with pytest.raises(ConfigError, match="real.npz .*resizer: 'tf'.*'clean'"):
        score(fake, str(file), resizer="clean")
    with pytest.raises(ConfigError, match="--num-real 5.*real.npz"):
        score(fake, str(file), num_real=5)
    with pytest.raises(ConfigError, match="real.npz .*pr needs.*sagan reference"):
        score(fake, str(file), metrics=("pr",))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ConfigError, match="real.npz.*sagan reference"):
        score(fake, str(file))


def test_statistics_in_the_format_of_another_version_are_refused(tmp_path):
    file = tmp_path / "real.npz"
    np.savez(file, about=np.array(json.dumps({"format": 1, "fingerprint": {}})))
    with pytest.raises(ConfigError, match="real.npz: format 1.*sagan reference"):
        score(write(tmp_path / "a", pictures(0, 4)), str(file))


def test_an_npz_scores_like_a_folder_of_the_same_images(tmp_path):
    fake, real = pictures(0, 20), pictures(1, 30)
    expected = score(write(tmp_path / "a", fake), write(tmp_path / "b", real))["metrics"]
    np.savez(tmp_path / "a.npz", arr_0=fake, arr_1=np.arange(20) % 3)
    np.savez(tmp_path / "b.npz", arr_0=real)
    found = score(str(tmp_path / "a.npz"), str(tmp_path / "b.npz"))["metrics"]
    assert found == pytest.approx(expected)
    images = reference.open_images(str(tmp_path / "a.npz"))
    assert images.class_names == ("0", "1", "2")
    assert images.read(np.array([4, 5]))[1].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("arrays", "fact"),
    [
        ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, "arr_0"),
        ({"arr_0": np.zeros((2, 8, 8, 3), np.float32)}, "float32"),
        ({"arr_0": np.zeros((2, 8, 8, 3), np.uint8), "arr_1": np.array([0, -1])}, "labels"),
        ({"arr_0": np.zeros((1, 8, 8, 3), np.uint8), "arr_1": np.array([10**9])}, "labels"),
        ({"arr_0": np.array([{}])}, "a.npz"),
    ],
)
def test_an_npz_of_something_else_is_refused(tmp_path, arrays, fact):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ConfigError, match=fact):
        reference.open_images(str(tmp_path / "a.npz"))
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-40])
    with pytest.raises(ConfigError, match="a.npz"):
        reference.open_images(str(tmp_path / "a.npz"))
    with pytest.raises(ConfigError, match="16 px"):
        np.savez(tmp_path / "b.npz", arr_0=np.zeros((2, 8, 8, 3), np.uint8))
        reference.open_images(str(tmp_path / "b.npz"), image_size=16)
