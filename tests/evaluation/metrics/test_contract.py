"""What every metric must do, over all of them, found by listing."""

import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.evaluation import metrics
from sagan.evaluation.metrics import Batch, Spec

WIDTH, CLASSES = 12, 3


@pytest.fixture(autouse=True)
def small_subsets(monkeypatch):
    (kid,) = metrics.find(["kid"])
    monkeypatch.setattr(kid, "NUM_SUBSETS", 5)
    monkeypatch.setattr(kid, "SUBSET_SIZE", 50)


def features(seed: int, n: int) -> np.ndarray:
    return np.random.RandomState(seed).randn(n, WIDTH).astype(np.float32)


def fold(metric, x, labels, order, batch_size, parts=1):
    states = [metric.init(Spec(WIDTH, len(x), CLASSES)) for _ in range(parts)]
    for number, start in enumerate(range(0, len(x), batch_size)):
        at = order[start : start + batch_size]
        part = number % parts
        states[part] = metric.update(states[part], Batch(x[at], at, labels[at]))
    total = states[0]
    for state in states[1:]:
        total = metric.merge(state, total)
    return total


@pytest.mark.parametrize("name", metrics.names())
def test_order_of_images_batches_and_merges_makes_no_difference(name):
    (metric,) = metrics.find([name])
    n = 60
    fake, real = features(0, n), features(1, n) + 0.3
    labels, in_order = np.arange(n) % CLASSES, np.arange(n)
    shuffled = np.random.RandomState(2).permutation(n)

    expected = metric.compute(
        fold(metric, fake, labels, in_order, n), fold(metric, real, labels, in_order, n)
    )
    got = metric.compute(
        fold(metric, fake, labels, shuffled, n // 7, parts=3),
        fold(metric, real, labels, shuffled, n // 4, parts=2),
    )
    assert expected and all(np.isfinite(value) for value in expected.values())
    assert got == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", metrics.names())
def test_state_is_arrays_and_update_leaves_its_argument_alone(name):
    (metric,) = metrics.find([name])
    state = metric.init(Spec(WIDTH, 60, CLASSES))
    before = [np.copy(field) for field in state]
    after = metric.update(state, Batch(features(0, 60), np.arange(60), np.arange(60) % CLASSES))
    for old, field in zip(before, state, strict=True):
        np.testing.assert_array_equal(old, field)
    assert all(isinstance(field, np.ndarray) for field in (*state, *after))
    merged = metric.merge(state, after)
    assert [f.dtype for f in merged] == [f.dtype for f in state]


@pytest.mark.parametrize("name", metrics.names())
def test_no_images_are_refused(name):
    (metric,) = metrics.find([name])
    assert metric.MIN_IMAGES >= 1
    empty = metric.init(Spec(WIDTH, max(metric.MIN_IMAGES, 10), CLASSES))
    with pytest.raises(ValueError):
        metric.compute(empty, empty)


def test_states_are_shared_where_output_and_accumulator_agree():
    by_name = {name: metrics.state_name(metrics.find([name])[0]) for name in metrics.names()}
    assert by_name["fid"] == "pool.moments"
    assert by_name["kid"] == by_name["pr"] == by_name["dc"] == by_name["intra_fid"] == "pool.bank"
    assert by_name["is"] != by_name["is_1split"]


def test_protocols_of_other_networks_have_names_of_their_own():
    by_name = {name: metrics.find([name])[0] for name in metrics.names()}
    assert by_name["fid"].OUTPUT == "pool"
    assert by_name["fid_768"].OUTPUT == "pool_768"
    assert by_name["classifier_fid"].OUTPUT == "classifier_pool"
    assert len({metric.NAME for metric in by_name.values()}) == len(by_name)


def test_find_lists_what_it_knows():
    with pytest.raises(ConfigError, match="unknown metric 'fidd'; known: .*fid, .*kid"):
        metrics.find(["fid", "fidd"])
    with pytest.raises(ConfigError, match="no metrics asked for"):
        metrics.find([])
    with pytest.raises(ConfigError, match="json.*lacks NAME"):
        metrics.find(["json.decoder"])
    assert [metric.NAME for metric in metrics.find(["is", "fid", "is"])] == ["is", "fid"]
