"""Inception Score and class accuracy against closed forms and torch-fidelity."""

import numpy as np
import pytest

from sagan.evaluation.metrics import Batch, Spec, find

inception_score, one_split, classifier_score, class_accuracy = find(
    ["is", "is_1split", "classifier_score", "class_accuracy"]
)


def score(metric, logits: np.ndarray) -> dict[str, float]:
    state = metric.accumulator.init(Spec(logits.shape[1], len(logits)))
    batch = Batch(logits.astype(np.float32), np.arange(len(logits)))
    return metric.compute(metric.accumulator.update(state, batch), None)


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
    _, _, init, update, merge = inception_score.accumulator
    with pytest.raises(ValueError, match="10 splits .* 9"):
        init(Spec(5, 9))
    state = update(init(Spec(5, 20)), Batch(np.zeros((8, 5), np.float32), np.arange(8)))
    with pytest.raises(ValueError, match="8 of 20"):
        inception_score.compute(state)
    with pytest.raises(ValueError, match="20 and 21"):
        merge(state, init(Spec(5, 21)))


def test_class_accuracy_counts_the_class_asked_for():
    logits = np.eye(4, dtype=np.float32)
    _, _, init, update, _ = class_accuracy.accumulator
    state = update(init(Spec(4, 4, 4)), Batch(logits, np.arange(4), np.array([0, 1, 2, 0])))
    assert class_accuracy.compute(state) == {"": 0.75}
    with pytest.raises(ValueError, match="classes"):
        update(state, Batch(logits, np.arange(4), None))
