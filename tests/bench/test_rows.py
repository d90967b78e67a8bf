"""`sagan bench --rows`: each loss, penalty or other row is timed in turns with the config alone."""

import pytest

from sagan.bench import rows, timing
from sagan.bench.training import Step
from sagan.config import ConfigError, presets


class PretendedSetup:
    """Stands for a `Setup`, but has neither networks nor data."""

    def __init__(self, config):
        self.config, self.steps = config, 2

    def create(self):
        return None

    def describe(self):
        return {"config": "debug", "devices": "1", "data": "x", "dtype": "float32"}


class PretendedStep(Step):
    """Stands for a `Step`. It compiles nothing, and a call moves a clock instead of taking time."""

    clock = 0.0

    def __init__(self, setup, state):
        self.setup, self.train = setup, setup.config.train
        self.figures = {"compile_seconds": 1.0, "flops_per_device": 1 + len(self.train.augment)}

    def __call__(self):
        PretendedStep.clock += 0.5 + bool(self.train.augment) + 2 * len(self.train.penalties)


def test_rows_are_compared_with_the_config_alone(monkeypatch):
    monkeypatch.setattr(rows, "Setup", PretendedSetup)
    monkeypatch.setattr(rows, "Step", PretendedStep)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: PretendedStep.clock)
    words = ["data.name=synthetic", "model.num_classes=data", "train.loss=rpgan"]
    found = {row["row"]: row for row in rows.run(presets.load("debug", words), 3)["rows"]}
    assert next(iter(found)) == "alone" and found["alone"]["relative"] == 1
    assert found["train.penalties=r1=1"]["relative"] == 5
    colour = found["train.augment=color"]
    assert (colour["relative"], colour["relative_flops"], colour["seconds_per_step"]) == (
        3,
        2,
        0.75,
    )
    assert "train.regularisers=topk=0.5" not in found  # does not go with this loss


@pytest.mark.parametrize("task", ["captions", "digits_transformer"])
def test_only_gans_have_rows(task):
    with pytest.raises(ConfigError, match="task="):
        rows.run(presets.load(task), 1)


def test_calls_in_turns_begin_with_each_in_turn():
    called = []
    ours, theirs = timing.turns(lambda: called.append("a"), lambda: called.append("b"), 3, "turns")
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert len(ours) == len(theirs) == 3
