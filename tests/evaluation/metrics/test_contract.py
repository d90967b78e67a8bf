"""What every metric must do, for all of them, found by listing."""

import dataclasses
import functools

import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.evaluation import metrics
from sagan.evaluation.metrics import Batch, Spec

WIDTH, CLASSES = 12, 3


def find(name):
    """Returns a metric; KID with subsets that a few images suffice for."""
    (metric,) = metrics.find([name])
    if name != "kid":
        return metric
    compute = functools.partial(metric.compute, num_subsets=5, subset_size=50)
    return dataclasses.replace(metric, compute=compute)


def features(seed: int, n: int) -> np.ndarray:
    return np.random.RandomState(seed).randn(n, WIDTH).astype(np.float32)


def fold(metric, x, labels, order, batch_size, parts=1):
    init, update, merge = metric.accumulator[2:]
    states = [init(Spec(WIDTH, len(x), CLASSES)) for _ in range(parts)]
    for number, start in enumerate(range(0, len(x), batch_size)):
        at = order[start : start + batch_size]
        part = number % parts
        states[part] = update(states[part], Batch(x[at], at, labels[at]))
    total = states[0]
    for state in states[1:]:
        total = merge(state, total)
    return total


@pytest.mark.parametrize("name", metrics.names())
def test_order_of_images_batches_and_merges_makes_no_difference(name):
    metric = find(name)
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
    _, kind, init, update, merge = find(name).accumulator
    state = init(Spec(WIDTH, 60, CLASSES))
    before = [np.copy(field) for field in state]
    after = update(state, Batch(features(0, 60), np.arange(60), np.arange(60) % CLASSES))
    for old, field in zip(before, state, strict=True):
        np.testing.assert_array_equal(old, field)
    assert all(isinstance(field, np.ndarray) for field in (*state, *after))
    merged = merge(state, after)
    assert type(state) is type(after) is type(merged) is kind
    assert [f.dtype for f in merged] == [f.dtype for f in state]


@pytest.mark.parametrize("name", metrics.names())
def test_no_images_are_refused(name):
    metric = find(name)
    assert metric.min_images >= 1
    empty = metric.accumulator.init(Spec(WIDTH, max(metric.min_images, 10), CLASSES))
    with pytest.raises(ValueError):
        metric.compute(empty, empty)


def test_states_are_shared_where_output_and_accumulator_agree():
    by_name = {name: find(name).state_name for name in metrics.names()}
    assert by_name["fid"] == "pool.moments"
    assert by_name["kid"] == by_name["pr"] == by_name["dc"] == by_name["intra_fid"] == "pool.bank"
    assert by_name["is"] != by_name["is_1split"]
    accumulators = {}
    for name in metrics.names():  # equal names must be the same accumulator
        accumulator = find(name).accumulator
        same = accumulators.setdefault(accumulator.name, accumulator)
        assert same[3:] == accumulator[3:]


def test_protocols_of_other_networks_have_names_of_their_own():
    by_name = {name: find(name) for name in metrics.names()}
    assert by_name["fid"].output == "pool"
    assert by_name["fid_768"].output == "pool_768"
    assert by_name["classifier_fid"].output == "classifier_pool"
    assert all(metric.name == name for name, metric in by_name.items())


def test_all_metrics_are_found():
    assert metrics.names() == [
        "bits_per_dim", "class_accuracy", "classifier_fid", "classifier_score", "dc", "fid",
        "fid_768", "intra_fid", "is", "is_1split", "is_1split_biased", "kid", "pr", "sfid",
    ]  # fmt: skip


def test_unknown_names_are_answered_with_the_known_ones():
    for names in (["fid", "fidd"], []):
        with pytest.raises(ConfigError, match="fid, .*kid"):
            metrics.find(names)
    with pytest.raises(ConfigError, match="json.decoder.*METRICS"):
        metrics.find(["json.decoder"])


def test_names_are_kept_in_order_and_once():
    assert [metric.name for metric in metrics.find(["is", "fid", "is"])] == ["is", "fid"]


def test_a_module_outside_stands_for_all_its_metrics():
    found = metrics.find(["fid", "support.brightness"])
    assert [metric.name for metric in found] == ["fid", "brightness", "contrast"]
    state = found[1].accumulator.init(Spec(2, 3))
    x = np.array([[0.5, 0], [0.25, 0], [0.75, 0]], np.float32)
    state = found[1].accumulator.update(state, Batch(x, np.arange(3)))
    assert found[1].compute(state, None) == {"": 0.5}
