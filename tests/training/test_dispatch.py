"""Which steps each dispatch runs."""

import pytest
from support.tiny import CONFIG

from sagan.config import replace
from sagan.training.dispatch import Cadence, plan


def cadence(last_step, log=0, preview=0, save=0, score=0):
    return Cadence(log, preview, save, score, last_step)


@pytest.mark.parametrize(
    ("step", "several", "when", "expected"),
    [
        (0, 1, cadence(3), [(0, 1), (1, 1), (2, 1)]),
        (0, 10, cadence(30, log=10), [(0, 10), (10, 10), (20, 10)]),
        (0, 10, cadence(12), [(0, 10), (10, 1), (11, 1)]),  # the last step is no multiple
        (0, 4, cadence(8, log=3), [(n, 1) for n in range(8)]),  # nothing fits in between
        (0, 3, cadence(9, log=4), [(0, 3), (3, 1), (4, 3), (7, 1), (8, 1)]),
        (7, 10, cadence(30, save=20), [(7, 10), (17, 1), (18, 1), (19, 1), (20, 10)]),
        (5, 10, cadence(30, save=20), [(5, 10)] + [(n, 1) for n in range(15, 20)] + [(20, 10)]),
        (30, 10, cadence(30), []),
        (0, 10, cadence(2, log=3, save=7), [(0, 1), (1, 1)]),  # a dispatch longer than the run
    ],
)
def test_dispatches_end_where_something_is_due(step, several, when, expected):
    assert list(plan(step, several, when)) == expected


def test_a_resumed_run_repeats_the_dispatches_of_an_uninterrupted_one():
    when = cadence(50, log=7, save=20)
    whole = list(plan(0, 4, when))
    for position, (step, _) in enumerate(whole):
        assert list(plan(step, 4, when)) == whole[position:]


def test_cadences_are_read_from_the_config():
    config = replace(CONFIG, log={"every_steps": 2}, train={"steps": 9})
    assert Cadence.of(config).log == 2 and Cadence.of(config).last_step == 9
