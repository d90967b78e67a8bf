"""The small classifier learns digits, is reproducible, and is cached."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from sagan.config import ConfigError
from sagan.evaluation.features import classifier

QUICK = classifier.Recipe(
    channels=8, convs_per_halving=1, batch_size=32, epochs=1, learning_rate=1e-3
)


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


def test_learns_digits(digits, cache):
    images, labels, test_images, test_labels = digits
    extractor = classifier.load(images=images, labels=labels)
    got = extractor(test_images, ["classifier_logits", "classifier_pool"])
    assert got["classifier_logits"].shape == (360, 10)
    assert got["classifier_pool"].shape == (360, 64)
    assert dict(extractor.widths) == {"classifier_pool": 64, "classifier_logits": 10}
    # scikit-learn's logistic regression reads 0.978 of these images. The classifier has read 0.978
    # and more; how much depends a little on the CPU, whose rounding differs.
    assert (got["classifier_logits"].argmax(1) == test_labels).mean() >= 0.97
    assert extractor.accuracy > 0.95


def test_is_a_function_of_data_and_seed(digits, cache):
    images, labels = digits[0][:200], digits[1][:200]
    first = classifier.load(images=images, labels=labels, recipe=QUICK)
    (cached,) = cache.iterdir()
    cached.unlink()
    again = classifier.load(images=images, labels=labels, recipe=QUICK)
    assert again.fingerprint == first.fingerprint
    other = classifier.load(images=images, labels=labels, recipe=QUICK, seed=1)
    assert other.fingerprint["weights_sha256"] != first.fingerprint["weights_sha256"]
    turned = classifier.load(images=images[::-1], labels=labels, recipe=QUICK)
    assert turned.fingerprint["data_sha256"] != first.fingerprint["data_sha256"]
    with pytest.raises(ValueError, match=r"\(8, 16\)"):
        first(images[:4, :8], ["classifier_pool"])


def test_cache_is_read_and_survives_damage(digits, cache):
    images, labels = digits[0][:200], digits[1][:200]
    first = classifier.load(images=images, labels=labels, recipe=QUICK)
    (cached,) = cache.iterdir()
    # Other weights in the file show that it is read, and that nothing is trained again.
    with np.load(cached) as file:
        changed = {name: file[name] for name in file.files}
    changed["Dense_0/bias"] = changed["Dense_0/bias"] + 1
    np.savez(cached, **changed)
    found = classifier.load(images=images, labels=labels, recipe=QUICK)
    assert found.fingerprint["weights_sha256"] != first.fingerprint["weights_sha256"]
    assert found.accuracy == pytest.approx(float(changed["accuracy"]))
    cached.write_bytes(cached.read_bytes()[:100])
    again = classifier.load(images=images, labels=labels, recipe=QUICK)
    assert again.fingerprint == first.fingerprint
    assert len(list(cache.iterdir())) == 1


def test_what_it_cannot_learn_from(digits, cache):
    images, labels = digits[0][:50], digits[1][:50]
    with pytest.raises(ConfigError, match="2 or more classes"):
        classifier.load(images=images, labels=np.zeros(50, int))
    with pytest.raises(ConfigError, match=r"\[0, 5\)"):
        classifier.load(images=images, labels=labels, num_classes=5)
