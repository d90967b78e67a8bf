"""KID against the hand-worked value and torch-fidelity."""

import numpy as np
import pytest

from sagan.evaluation.metrics import Batch, Spec, find, kid

(METRIC,) = find(["kid"])


def state_of(x: np.ndarray):
    state = METRIC.accumulator.init(Spec(x.shape[1], len(x)))
    return METRIC.accumulator.update(state, Batch(x.astype(np.float32), np.arange(len(x))))


def test_hand_worked_value():
    x, y = np.array([[0.0, 0], [1, 0], [0, 1]]), np.array([[1.0, 1], [2, 0], [0, 2]])
    assert kid.squared_mmd(x, y) == pytest.approx(0.5, abs=1e-12)


def test_torch_fidelity(peer):
    torch = pytest.importorskip("torch")
    random = np.random.RandomState(0)
    x = np.abs(random.randn(400, 512)).astype(np.float32)
    y = np.abs(random.randn(350, 512) + 0.05).astype(np.float32)
    theirs = peer("torch_fidelity.metric_kid").kid_features_to_metric(
        torch.from_numpy(x).double(),
        torch.from_numpy(y).double(),
        kid_subsets=20,
        kid_subset_size=200,
        verbose=False,
    )
    ours = kid.compute(state_of(x), state_of(y), num_subsets=20, subset_size=200)
    assert ours[""] == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-4)
    assert ours["sd"] == pytest.approx(theirs["kernel_inception_distance_std"], rel=1e-3)


def test_fewer_images_than_a_subset_are_refused():
    assert METRIC.min_images == 1000
    with pytest.raises(ValueError, match="1000 images, got 999"):
        METRIC.compute(state_of(np.zeros((999, 2))), state_of(np.zeros((1000, 2))))
