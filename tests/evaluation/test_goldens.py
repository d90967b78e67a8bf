"""Ours against numbers that independent implementations computed; none of them is needed.

`tests/tools/make_peer_goldens.py` made the numbers, and `pytest -m peers` compares live.
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from support import peer_cases

from sagan.evaluation.features import inception
from sagan.evaluation.features.fid_inception import resize
from sagan.evaluation.features.fid_inception.network import OUTPUTS, layers_of
from sagan.evaluation.metrics import Batch, Spec, find

FOLDER = Path(__file__).parent / "goldens"
SCORES = json.loads((FOLDER / "peers.json").read_text())["scores"]


@pytest.fixture(scope="module")
def arrays():
    with np.load(FOLDER / "peers.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    layers = peer_cases.inception_layers(layers_of(tuple(OUTPUTS)))
    path = tmp_path_factory.mktemp("weights") / "random.npz"
    np.savez(path, **{f"{n}/{part}": x for n, parts in layers.items() for part, x in parts.items()})
    return path


@pytest.mark.parametrize(
    "resizer, outputs", [("tf", sorted(OUTPUTS)), ("torch", ["pool", "pool_768"])]
)
def test_features_equal_torch_fidelitys_and_pytorch_fids(weights, arrays, resizer, outputs):
    extractor = inception.load(weights=weights, resizer=resizer)
    found = extractor(peer_cases.images(6, 32, 32), outputs)
    for name in outputs:
        wanted = arrays[f"{resizer}/{name}"]
        got = peer_cases.sampled(found[name])
        assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max(), name
        # The network does not map all images to the same features.
        assert wanted.std(0).mean() > 0.02 * np.abs(wanted).mean(), name


@pytest.mark.parametrize("resizer, tolerance", [("tf", 2e-4), ("torch", 2e-3)])
@pytest.mark.parametrize(("height", "width"), peer_cases.RESIZED)
def test_resized_images_equal_torch_fidelitys_and_torchs(arrays, resizer, height, width, tolerance):
    images = jnp.asarray(peer_cases.images(1, height, width))
    got = peer_cases.sampled(resize.bilinear(images, 299, resizer))
    wanted = arrays[f"resized/{resizer}/{height}x{width}"]
    np.testing.assert_allclose(got, wanted, atol=tolerance)


def state_of(metric, x):
    state = metric.accumulator.init(Spec(x.shape[1], len(x)))
    return metric.accumulator.update(state, Batch(x, np.arange(len(x))))


def scores_of(name, **options):
    (metric,) = find([name])
    fake, real = (state_of(metric, peer_cases.features(side)) for side in ("fake", "real"))
    return metric.compute(fake, real, **options)


def test_fid_equals_torch_fidelitys():
    assert scores_of("fid")[""] == pytest.approx(SCORES["frechet_inception_distance"], rel=1e-7)


def test_kid_equals_torch_fidelitys():
    ours = scores_of("kid", **peer_cases.KID)
    assert ours[""] == pytest.approx(SCORES["kernel_inception_distance_mean"], rel=1e-4)
    assert ours["sd"] == pytest.approx(SCORES["kernel_inception_distance_std"], rel=1e-3)


def test_inception_score_equals_torch_fidelitys():
    (metric,) = find(["is"])
    ours = metric.compute(state_of(metric, peer_cases.logits()), None)
    assert ours[""] == pytest.approx(SCORES["inception_score_mean"], rel=1e-9)
    assert ours["sd"] == pytest.approx(SCORES["inception_score_std"], rel=1e-9)


def test_precision_and_recall_equal_torch_fidelitys_and_tell_the_sides_apart():
    ours = scores_of("pr")
    assert ours == pytest.approx({name: SCORES[name] for name in ours}, abs=1e-3)
    assert 0.05 < ours["recall"] < 0.95 and abs(ours["precision"] - ours["recall"]) > 0.05


def test_density_and_coverage_equal_prdcs():
    ours = scores_of("dc")
    assert ours == pytest.approx({name: SCORES[name] for name in ours}, rel=1e-12)
    assert 0.05 < ours["coverage"] < 0.95
