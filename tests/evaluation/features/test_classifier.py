"""The small classifier: learns digits, is the same twice, and is cached."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from sagan.config import ConfigError
from sagan.evaluation.features import _small_cnn, classifier


@pytest.fixture(scope="module")
def digits():
    """Digits at 16 px, RGB; the last fifth in a fixed random order is held out."""
    data = load_digits()
    grey = [
        np.asarray(Image.fromarray(np.uint8(np.rint(image * 255 / 16))).resize((16, 16)))
        for image in data.images
    ]
    images = np.repeat(np.stack(grey)[..., None], 3, -1)
    order = np.random.default_rng(1).permutation(len(images))
    train, test = order[:1437], order[1437:]
    return images[train], data.target[train], images[test], data.target[test]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def quick(monkeypatch):
    plan = _small_cnn.Recipe(
        channels=8, convs_per_halving=1, batch_size=32, epochs=1, learning_rate=1e-3
    )
    monkeypatch.setattr(_small_cnn, "recipe", lambda *_: plan)


def test_learns_digits(digits, cache):
    images, labels, test_images, test_labels = digits
    extractor = classifier.load(images=images, labels=labels)
    got = extractor(test_images, ["classifier_logits", "classifier_pool"])
    assert got["classifier_logits"].shape == (360, 10)
    assert got["classifier_pool"].shape == (360, 64)
    assert dict(extractor.widths) == {"classifier_pool": 64, "classifier_logits": 10}
    assert (got["classifier_logits"].argmax(1) == test_labels).mean() >= 0.98
    assert extractor.accuracy > 0.95


def test_is_a_function_of_data_and_seed(digits, cache, quick):
    images, labels = digits[0][:200], digits[1][:200]
    first = classifier.load(images=images, labels=labels)
    (cached,) = cache.iterdir()
    cached.unlink()
    again = classifier.load(images=images, labels=labels)
    assert again.fingerprint == first.fingerprint
    other = classifier.load(images=images, labels=labels, seed=1)
    assert other.fingerprint["weights_sha256"] != first.fingerprint["weights_sha256"]
    assert classifier._data_sha256(images[::-1], labels) != first.fingerprint["data_sha256"]
    with pytest.raises(ValueError, match=r"images are \(8, 16\)"):
        first(images[:4, :8], ["classifier_pool"])


def test_cache_is_read_and_survives_damage(digits, cache, quick, monkeypatch):
    images, labels = digits[0][:200], digits[1][:200]
    first = classifier.load(images=images, labels=labels)
    with monkeypatch.context() as patch:
        patch.setattr(_small_cnn, "train", None)  # not called: found in the cache
        assert classifier.load(images=images, labels=labels).fingerprint == first.fingerprint
    (cached,) = cache.iterdir()
    cached.write_bytes(cached.read_bytes()[:100])
    assert classifier.load(images=images, labels=labels).fingerprint == first.fingerprint
    assert len(list(cache.iterdir())) == 1


def test_what_it_cannot_learn_from(digits, cache):
    images, labels = digits[0][:50], digits[1][:50]
    with pytest.raises(ConfigError, match="labels of 2 or more classes"):
        classifier.load(images=images, labels=np.zeros(50, int))
    with pytest.raises(ConfigError, match=r"allowed: \[0, 5\)"):
        classifier.load(images=images, labels=labels, num_classes=5)
