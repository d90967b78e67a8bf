"""What a scorer refuses when it is made, and how it matches the classes of both sides."""

import dataclasses

import numpy as np
import pytest
from PIL import Image
from support.stand_ins import DATA, HOW_MADE, SIZE, Cheap, NoiseSampler

from sagan import data
from sagan.config import ConfigError, DataConfig
from sagan.evaluation import metrics, reference, reference_files
from sagan.evaluation.image_scorer import ImageScorer


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scorer(spec):
    """Makes a scorer of a run on synthetic data: `scorer(num_images=5)`."""

    def make(num_classes=4, **changes):
        return ImageScorer(spec(**changes), DATA, SIZE, num_classes, HOW_MADE)

    return make


@pytest.mark.parametrize(
    "changes, facts",
    [
        ({"metrics": ("kid",)}, "kid .*1000 generated .*64"),
        ({"metrics": ("kid",), "num_images": 1000}, "kid .*1000 real .*512"),
        ({"num_images": 1}, "fid .*2 generated .*1"),
        ({"metrics": ("sfid",)}, "sfid .*'spatial': these weights lack a layer; .*fid"),
        ({"metrics": ("classifier_fid",)}, "classifier_fid .*cheap"),
        ({"num_real": 513}, "512 .*513"),
        ({"features": "nothing"}, "'nothing' .*inception"),
        ({"metrics": ("fidd",)}, "'fidd'.*fid, "),
        ({"num_classes": None, "metrics": ("intra_fid",)}, "intra_fid .*classes"),
    ],
)
def test_what_cannot_be_scored_is_refused_when_the_scorer_is_made(scorer, changes, facts):
    with pytest.raises(ConfigError, match=facts):
        scorer(**changes)


@pytest.mark.parametrize("psi", [0.0, -3.0, 1.5, float("nan")])
def test_truncation_is_checked(spec, psi):
    with pytest.raises(ConfigError, match=rf"truncation.*{psi}"):
        spec(truncation=psi)


@pytest.mark.parametrize("seeds", [(), (0, 2**32), (-1,)])
def test_seeds_are_checked(spec, seeds):
    with pytest.raises(ConfigError, match="seeds"):
        spec(seeds=seeds)


def write_classes(root, names):
    """Writes four images a class, and eight of the first."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(4 if number else 8):
            Image.new("RGB", (SIZE, SIZE), (50 + i,) * 3).save(root / name / f"{i}.png")
    return str(root)


def test_classes_of_a_reference_are_matched_by_name(scorer, tmp_path):
    names = ["hue2", "hue0", "hue1", "hue3"]  # hue2 has twice as many images as the others
    made = scorer(num_images=20, reference=write_classes(tmp_path / "real", names))
    assert made.reference.class_names == ("hue0", "hue1", "hue2", "hue3")
    assert np.bincount(made.labels(0)).tolist() == [4, 4, 8, 4]
    few = scorer(num_images=30, reference=write_classes(tmp_path / "few", names[:2]))
    assert np.bincount(few.labels(0)).tolist() == [10, 0, 20]


def test_a_reference_with_other_classes_is_refused(scorer, tmp_path):
    folder = write_classes(tmp_path / "real", ["cat", "dog"])
    with pytest.raises(ConfigError, match="folder:real .*cat, dog.*hue0, hue1"):
        scorer(reference=folder)
    assert not (tmp_path / "cache").exists()  # it was refused before any work
    flat = scorer(reference=f"{folder}/cat")
    assert flat.protocol()["num_real"] == 8
    assert np.bincount(flat.labels(0)).tolist() == [16, 16, 16, 16]
    assert scorer(num_classes=None, reference=folder).labels(0) is None


def test_an_unconditional_model_is_scored(scorer):
    made = scorer(num_classes=None, metrics=("fid",))
    assert made.score(NoiseSampler(10, ()))["metrics"]["fid64"] > 0


def save(path, folder):
    network = Cheap()
    images = reference.open_images(folder)
    made = reference.of(images, metrics.find(["fid"]), network, batch_size=8)
    reference_files.save(path, made, network)
    return str(path)


def test_saved_statistics_need_no_data_but_the_same_classes(scorer, tmp_path, monkeypatch):
    names = ["hue0", "hue1", "hue2", "hue3"]
    file = save(tmp_path / "real.npz", write_classes(tmp_path / "real", names))
    other = save(tmp_path / "other.npz", write_classes(tmp_path / "other", ["cat", "dog"]))
    part = save(tmp_path / "part.npz", write_classes(tmp_path / "part", names[:2]))
    flat = save(tmp_path / "flat.npz", str(tmp_path / "real" / "hue0"))
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("the data was opened"))
    for saved in (file, flat):
        row = scorer(reference=saved, metrics=("fid",)).score(NoiseSampler(10))
        assert row["metrics"]["fid64"] > 0
    for saved, listed in ((other, "cat, dog"), (part, "hue0, hue1;|hue0, hue1,")):
        made = scorer(reference=saved, metrics=("fid",))
        with pytest.raises(ConfigError, match=listed):
            made.score(NoiseSampler(10))
    with pytest.raises(ConfigError, match="--num-real 10.*real.npz"):
        scorer(reference=file, metrics=("fid",), num_real=10)


def test_a_folder_is_fitted_as_the_runs_own_images_are(tmp_path, spec):
    """Otherwise generated images of one shape would be compared with real ones of another."""
    oblong = np.random.default_rng(0).integers(0, 256, (SIZE, 3 * SIZE, 3), np.uint8)
    (tmp_path / "images").mkdir()
    for number in range(70):
        Image.fromarray(np.roll(oblong, number, 1)).save(tmp_path / "images" / f"{number}.png")
    found = {}
    for fit in ("crop", "pad", "stretch"):
        trained_on = dataclasses.replace(DATA, fit=fit)
        asked = spec(reference=str(tmp_path / "images"), metrics=("fid",))
        scorer = ImageScorer(asked, trained_on, SIZE, None, HOW_MADE)
        expected = reference.open_images(
            str(tmp_path / "images"), overrides=[f"data.fit={fit}"], image_size=SIZE
        )
        pixels, _ = expected.read(np.arange(70))
        contents = reference.contents_of(np.arange(70), pixels, None, 0)
        assert scorer.reference.sha256 == contents.digest.tobytes().hex(), fit
        found[fit] = scorer.reference.sha256
    assert len(set(found.values())) == 3


def of_digits(spec, **changes):
    digits = DataConfig(name="digits")
    return ImageScorer(spec(**{"metrics": ("fid", "is")} | changes), digits, SIZE, 10, HOW_MADE)


def test_real_held_out_images_are_scored_and_kept(spec, monkeypatch):
    scorer = of_digits(spec, num_images=400)
    real = scorer.score_real()
    assert real.name == "real test" and "360" in real.about  # there are no more
    names = tuple(str(n) for n in range(10))
    noise = scorer.score(NoiseSampler(10, names))["metrics"]
    assert set(real.metrics) == set(noise) and set(scorer.keys()) <= set(noise)
    assert 0 < real.metrics["fid400"] < noise["fid400"] / 10
    assert real.metrics["is400"] > noise["is400"]

    def compute(*_):
        raise AssertionError("computed a second time")

    monkeypatch.setattr(Cheap, "__call__", compute)
    assert of_digits(spec, num_images=400).score_real() == real


def test_real_images_are_scored_only_where_they_tell_something(spec, scorer):
    assert "64" in of_digits(spec, num_images=64).score_real().about
    assert of_digits(spec, reference="digits:train").score_real() is None
    assert scorer().score_real() is None  # a set with one split
