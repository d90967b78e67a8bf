"""Which scalars and samples raise an alarm, and which do not."""

import itertools
import json
import math

import numpy as np
import pytest

from sagan import data
from sagan.config import DataConfig, GuardConfig
from sagan.tasks import Preview
from sagan.tasks.gan import health
from sagan.tasks.gan.health import GanHealth

SOURCE = data.load(DataConfig(name="synthetic"), 8)
CALM = {"logits/real": 1.0, "logits/fake": -1.0, "loss/d": 0.5, "sigma/g/a": 2.0}


def test_spread_is_that_of_all_pairs_of_a_class():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (9, 4, 4, 3), np.uint8)
    for labels in (None, np.array([0, 0, 0, 1, 1, 1, 1, 1, 1])):
        squares = []
        for label in set(range(9)) if labels is None else {0, 1}:
            part = images if labels is None else images[labels == label]
            pairs = [
                np.mean((a / 255.0 - b / 255.0) ** 2) for a, b in itertools.combinations(part, 2)
            ]
            squares.append((np.mean(pairs), len(part) - 1))
        expected = math.sqrt(sum(m * n for m, n in squares) / sum(n for _, n in squares))
        assert health.spread(images, labels) == pytest.approx(expected, rel=1e-5)
    assert health.spread(np.zeros((4, 2, 2, 3), np.uint8), None) == 0
    assert math.isnan(health.spread(images[:2], np.array([0, 1])))
    black_and_white = np.stack([np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)])
    assert health.spread(black_and_white, None) == 1


def test_diversity_of_real_images_is_near_one():
    images, labels = data.read(SOURCE, range(300))
    real = health.spread_of(SOURCE)
    found = health.diversity(health.spread(images, labels), real)
    assert found == pytest.approx(1, abs=0.25)
    preview = Preview(images[0], {}, images, labels)
    assert GanHealth(GuardConfig(), SOURCE).measure(preview) == round(found, 6)
    assert health.diversity(0.0, real) == 0
    assert health.diversity(0.1, 0.0) is None and health.diversity(math.nan, 1.0) is None


@pytest.mark.parametrize(
    ("wrong", "facts"),
    [
        ({"logits/real": 40.0, "logits/fake": -20.0}, ["60", "guard.max_margin=50"]),
        ({"loss/d": 1e-4}, ["loss", "0.0001"]),
        ({"sigma/g/a": 40.0}, ["sigma/g/a", "40", "2"]),
    ],
)
def test_three_log_lines_in_a_row_are_an_alarm_once(wrong, facts):
    watch = GanHealth(GuardConfig(), SOURCE)
    for _ in range(4):
        assert watch.look(CALM) == []
    assert watch.look(CALM | wrong) == [] == watch.look(CALM | wrong)
    assert watch.look(CALM) == [] == watch.look(CALM | wrong) == watch.look(CALM | wrong)
    # Carried over by a checkpoint, as JSON.
    watch = GanHealth(GuardConfig(), SOURCE, json.loads(json.dumps(watch.memory(7))))
    (text,) = watch.look(CALM | wrong)
    assert all(fact in text for fact in facts) and watch.scalars() == {"guard/alarms": 1}
    assert watch.look(CALM | wrong) == [] and watch.alarms
    assert watch.memory(8)["healthy"] == 7
    watch.look(CALM)
    assert not watch.alarms and watch.memory(9)["healthy"] == 9


def test_a_norm_that_stays_elsewhere_becomes_usual():
    watch = GanHealth(GuardConfig(), SOURCE)
    watch.look(CALM)
    texts = [watch.look(CALM | {"sigma/g/a": 20.0}) for _ in range(20)]
    assert sum(map(len, texts)) == 1 and not watch.alarms


def test_log_lines_of_skipped_steps_are_ignored():
    watch = GanHealth(GuardConfig(), SOURCE)
    bad = CALM | {"loss/d": 0.0}
    assert watch.look(bad) == [] == watch.look(bad)
    gone = {name: math.nan for name in CALM}
    assert watch.look(gone) == [] and len(watch.look(bad)) == 1


def test_lost_diversity_is_an_alarm_at_once_and_diversity_that_never_was_after_three_readings():
    watch = GanHealth(GuardConfig(min_diversity=0.1), SOURCE)
    assert watch.see(0, 0.0) == [] == watch.see(10, 0.05) == watch.see(20, 0.05)
    (text,) = watch.see(30, 0.05)
    assert "0.05" in text and "guard.min_diversity=0.1" in text
    assert watch.see(40, 0.5) == [] and not watch.alarms
    assert len(watch.see(50, 0.09)) == 1 and watch.see(60, 0.09) == []
    assert watch.scalars() == {"guard/alarms": 1, "guard/diversity": 0.09}
    assert GanHealth(GuardConfig(), SOURCE).see(10, None) == []
