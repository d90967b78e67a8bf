"""Statistics of pytorch-fid serve as the reference of FID, and of nothing else."""

import json

import numpy as np
import pytest
from support.image_folders import pictures, write
from support.stand_ins import Cheap

from sagan import cli
from sagan.config import ConfigError
from sagan.evaluation import metrics, reference_files

WIDTH = Cheap.widths["pool"]
FEATURES = ["--features", "support.stand_ins"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))


def scored(*words, capsys):
    assert cli.main(["eval", *words, *FEATURES, "--metrics", "fid,is", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_distance_is_that_to_the_images_themselves(tmp_path, capsys):
    real = pictures(1, 60)
    folders = write(tmp_path / "fake", pictures(0, 60)), write(tmp_path / "real", real)
    features = Cheap()(real, ["pool"])["pool"].astype(np.float64)
    file = tmp_path / "stats.npz"
    np.savez(file, mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    direct = scored("--images", folders[0], "--reference", folders[1], capsys=capsys)
    found = scored("--images", folders[0], "--reference", str(file), capsys=capsys)
    assert found["metrics"] == pytest.approx(direct["metrics"], rel=1e-6)
    assert set(found["metrics"]) == {"fid60", "is60", "is60_sd"}
    assert found["protocol"]["reference"] == "statistics:stats.npz"
    assert found["protocol"]["num_real"] is None


@pytest.mark.parametrize(
    ("changes", "asked", "fact"),
    [
        ({}, ["fid", "pr"], "pr needs"),
        ({}, ["fid_768"], "fid_768 needs"),
        ({"mu": np.zeros(WIDTH + 1)}, ["fid"], r"\(7,\).*\(6,\)"),
        ({"sigma": np.eye(WIDTH)[0]}, ["fid"], r"\(6, 6\)"),
        ({"mu": np.zeros(WIDTH, np.int64)}, ["fid"], "int64"),
        ({"mu": np.full(WIDTH, np.nan)}, ["fid"], "not finite"),
        ({"sigma": np.triu(np.ones((WIDTH, WIDTH)))}, ["fid"], "symmetric"),
        ({"mu": np.array([None] * WIDTH)}, ["fid"], "pickle"),
    ],
)
def test_what_does_not_fit_is_refused(changes, asked, fact, tmp_path):
    file = tmp_path / "stats.npz"
    np.savez(file, **({"mu": np.zeros(WIDTH), "sigma": np.eye(WIDTH)} | changes))
    with pytest.raises(ConfigError, match=fact):
        reference_files.load(file, metrics.find(asked), Cheap())
