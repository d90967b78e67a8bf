"""Scores of CIFAR-10's test images against its training images, compared with live peers.

Both sides start from the same PNG files and the same random weights, so reading, resizing,
network and statistics are all compared at once, on 500 images of each split. It takes minutes, so
it runs by `pytest -m peers` alone; `test_goldens.py` compares with stored numbers.
"""

import importlib.machinery
import os
import sys
import types

import numpy as np
import pytest
from PIL import Image
from support.small_kid import SUBSET_SIZE

from sagan.evaluation import ScoreSpec, image_files, reference
from sagan.evaluation.features import inception

NUM_IMAGES = 500
pytestmark = [pytest.mark.slow, pytest.mark.peers]


def relative(got, wanted):
    """Largest difference, relative to the largest value; and the same between norms."""
    largest = np.abs(got - wanted).max() / np.abs(wanted).max()
    return max(largest, np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of PNGs, `train` and `test`: the first of each split, in the order of its files."""
    import tensorflow_datasets as tfds

    data = os.environ.get("SAGAN_TEST_DATA")
    if not data:
        pytest.skip("SAGAN_TEST_DATA names no folder of real data")
    builder = tfds.builder("cifar10", data_dir=f"{data}/tfds", file_format="array_record")
    root = tmp_path_factory.mktemp("cifar10")
    for split in ("train", "test"):
        source = builder.as_data_source(split=split)
        (root / split).mkdir()
        for i in range(NUM_IMAGES):
            Image.fromarray(source[i]["image"]).save(root / split / f"{i:03}.png")
    return root


def ours(folders, weights, metrics, resizer, monkeypatch):
    """Returns scores of the same call as `sagan eval --images`, and the features it computed."""
    seen = {"train": {}, "test": {}}
    splits = iter(("train", "test"))  # the reference comes first

    class Recording:
        def __init__(self, extractor):
            self._inner, self._count, self._split = extractor, 0, next(splits)

        def __getattr__(self, name):
            return getattr(self._inner, name)

        def __call__(self, images, outputs):
            if self._count == NUM_IMAGES:
                self._count, self._split = 0, next(splits)
            self._count += len(images)
            found = self._inner(images, outputs)
            for name, value in found.items():
                seen[self._split].setdefault(name, []).append(value)
            return found

    module = types.ModuleType("recording_network")
    module.__spec__ = importlib.machinery.ModuleSpec("recording_network", None)
    module.load = lambda **choices: Recording(inception.load(**choices))
    monkeypatch.setitem(sys.modules, "recording_network", module)
    spec = ScoreSpec(
        metrics=metrics,
        features="recording_network",
        reference=str(folders / "train"),
        weights=weights,
        resizer=resizer,
    )
    result = image_files.score_images(reference.open_images(str(folders / "test")), spec)
    features = {
        split: {name: np.concatenate(parts) for name, parts in found.items()}
        for split, found in seen.items()
    }
    assert all(len(v) == NUM_IMAGES for found in features.values() for v in found.values())
    return result["metrics"], features


def fidelity(folders, weights, torch):
    """Returns the same of torch-fidelity's own command."""
    torch_fidelity = pytest.importorskip("torch_fidelity")
    base = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3"
    ).FeatureExtractorInceptionV3
    seen = []

    class Recording(base):
        def __init__(self, name, layers, **kwargs):
            super().__init__(name, [*layers, "768"], **kwargs)
            self.spatial = None
            self.Mixed_6d.branch1x1.register_forward_hook(self.keep)

        def keep(self, _module, _inputs, output):
            self.spatial = output[:, :7].permute(0, 2, 3, 1).flatten(1)

        def forward(self, x):
            found = super().forward(x)
            names = [*self.features_list, "spatial"]
            values = [*found, self.spatial]
            seen.append({n: v.numpy() for n, v in zip(names, values, strict=True)})
            return found

    torch_fidelity.register_feature_extractor("recording", Recording)
    scores = torch_fidelity.calculate_metrics(
        input1=str(folders / "test"),
        input2=str(folders / "train"),
        feature_extractor="recording",
        feature_extractor_weights_path=str(weights),
        isc=True,
        fid=True,
        kid=True,
        prc=True,
        kid_subset_size=SUBSET_SIZE,
        cuda=False,
        cache=False,
        save_cpu_ram=True,  # no worker processes
        verbose=False,
    )
    whole = {name: np.concatenate([part[name] for part in seen]) for name in seen[0]}
    halves = {
        split: {name: value[half] for name, value in whole.items()}
        for split, half in (
            ("test", slice(NUM_IMAGES)),
            ("train", slice(NUM_IMAGES, None)),
        )
    }
    return scores, halves


@pytest.mark.filterwarnings("ignore")
def test_scores_equal_torch_fidelitys(folders, weight_files, torch, torchvision, monkeypatch):
    metrics = ("fid", "is", "support.small_kid", "pr", "sfid", "fid_768")
    got, features = ours(folders, weight_files["pth"], metrics, "tf", monkeypatch)
    wanted, peer_features = fidelity(folders, weight_files["pth"], torch)
    names = {"pool": "2048", "pool_768": "768", "logits_unbiased": "logits_unbiased"}
    names["spatial"] = "spatial"
    for split, found in features.items():
        for name, value in found.items():
            apart = relative(value, peer_features[split][names[name]])
            print(f"{split} {name}: {apart:.1e}")
            assert apart < 1e-3
    pairs = {
        "is500": "inception_score_mean",
        "is500_sd": "inception_score_std",
        "fid500": "frechet_inception_distance",
        "kid500": "kernel_inception_distance_mean",
        "kid500_sd": "kernel_inception_distance_std",
        "pr500_precision": "precision",
        "pr500_recall": "recall",
    }
    for key, name in pairs.items():
        print(f"{key}: {got[key]:.8g} {wanted[name]:.8g}")
    assert {key: got[key] for key in pairs} == pytest.approx(
        {key: wanted[name] for key, name in pairs.items()}, rel=1e-3
    )
    assert 0.05 < got["pr500_precision"] < 1 and 1.001 < got["is500"]  # the weights tell apart


@pytest.mark.filterwarnings("ignore")
def test_fid_equals_pytorch_fids_with_its_resizer(
    folders, weight_files, torch, pytorch_fid, state_dict, monkeypatch
):
    score = pytest.importorskip("pytorch_fid.fid_score")
    monkeypatch.setattr(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: state_dict)
    seen = []
    original = score.get_activations
    monkeypatch.setattr(
        score, "get_activations", lambda *a, **k: seen.append(original(*a, **k)) or seen[-1]
    )
    paths = [str(folders / split) for split in ("train", "test")]
    wanted = score.calculate_fid_given_paths(paths, 50, "cpu", 2048, num_workers=0)
    got, features = ours(folders, weight_files["legacy"], ("fid",), "torch", monkeypatch)
    for split, value in zip(("train", "test"), seen, strict=True):
        apart = relative(features[split]["pool"], value)
        print(f"{split} pool: {apart:.1e}")
        assert apart < 1e-3
    print(f"fid: {got['torch_fid500']:.8g} {wanted:.8g}")
    assert got["torch_fid500"] == pytest.approx(wanted, rel=1e-3)
