"""Inception Score and class accuracy against closed forms and torch-fidelity."""

import numpy as np
import pytest

from sagan.evaluation.metrics import Batch, Spec, class_accuracy, classifier_score, inception_score
from sagan.evaluation.metrics import inception_score_1 as one_split


def score(metric, logits: np.ndarray) -> dict[str, float]:
    state = metric.init(Spec(logits.shape[1], len(logits)))
    return metric.compute(
        metric.update(state, Batch(logits.astype(np.float32), np.arange(len(logits)))), None
    )


@pytest.mark.parametrize("classes", [2, 10])
def test_certain_and_even_predictions_score_the_number_of_classes(classes):
    logits = 200.0 * np.eye(classes)[np.arange(100 * classes) % classes]
    assert score(one_split, logits)[""] == pytest.approx(classes, rel=1e-9)
    assert score(classifier_score, logits)[""] == pytest.approx(classes, rel=1e-9)


def test_constant_predictions_score_one():
    logits = np.tile(np.arange(5.0), (50, 1))
    assert score(inception_score, logits) == pytest.approx({"": 1.0, "sd": 0.0}, abs=1e-12)


@pytest.mark.parametrize("n", [500, 1003])  # splits of equal, and of unequal, sizes
def test_torch_fidelity(n, peer):
    torch = pytest.importorskip("torch")
    # Ordered by class: without the same shuffle the two would differ by far.
    logits = np.random.RandomState(0).randn(n, 1008) * 2
    logits[np.arange(n), np.arange(n) * 10 // n] += 12
    logits = logits.astype(np.float32)
    theirs = peer("torch_fidelity.metric_isc").isc_features_to_metric(torch.from_numpy(logits))
    assert score(inception_score, logits) == pytest.approx(
        {"": theirs["inception_score_mean"], "sd": theirs["inception_score_std"]}, rel=1e-9
    )


def test_fewer_images_than_splits_or_than_promised_are_refused():
    with pytest.raises(ValueError, match="10 splits need as many images, got 9"):
        inception_score.init(Spec(5, 9))
    state = inception_score.init(Spec(5, 20))
    state = inception_score.update(state, Batch(np.zeros((8, 5), np.float32), np.arange(8)))
    with pytest.raises(ValueError, match="saw 8 of 20 images"):
        inception_score.compute(state)
    with pytest.raises(ValueError, match="parts of different sets: 20 and 21"):
        inception_score.merge(state, inception_score.init(Spec(5, 21)))


def test_class_accuracy_counts_the_class_asked_for():
    logits = np.eye(4, dtype=np.float32)
    state = class_accuracy.init(Spec(4, 4, 4))
    state = class_accuracy.update(state, Batch(logits, np.arange(4), np.array([0, 1, 2, 0])))
    assert class_accuracy.compute(state) == {"": 0.75}
    with pytest.raises(ValueError, match="needs images with classes"):
        class_accuracy.update(state, Batch(logits, np.arange(4), None))
