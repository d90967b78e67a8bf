"""One value says what a process is doing; goodput adds up the time in each phase."""

import json
import time

import pytest

from sagan.training.goodput import Goodput
from sagan.training.phase import Activity, Phase


def test_phases_nest_and_tell_their_listeners():
    activity, heard = Activity(Phase.COMPILING), []
    activity.listen(lambda before, after: heard.append((before, after)))
    activity.switch(Phase.STEPPING)
    with pytest.raises(ValueError), activity.during(Phase.SAVING):
        assert activity.phase is Phase.SAVING
        raise ValueError
    assert activity.phase is Phase.STEPPING
    assert heard == [
        (Phase.COMPILING, Phase.STEPPING),
        (Phase.STEPPING, Phase.SAVING),
        (Phase.SAVING, Phase.STEPPING),
    ]


def test_only_training_steps_must_be_quick_and_only_they_and_saves_can_be_lost():
    quick = {phase for phase in Phase if not phase.may_be_slow}
    assert quick == {Phase.STEPPING, Phase.READING}
    unsaved = {phase for phase in Phase if not phase.has_nothing_to_lose}
    assert unsaved == {Phase.STEPPING, Phase.READING, Phase.SAMPLING, Phase.SAVING}


def test_goodput_adds_up_over_restarts(tmp_path):
    """Time after the step that the run resumes from was spent on steps that are repeated."""
    lines = [
        {"step": step}
        | {f"time/{phase.value}_seconds": 0.0 for phase in Phase}
        | {"time/step_seconds": seconds}
        for step, seconds in ((10, 4.0), (20, 7.0))
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 30, "ti')  # cut short by a kill
    activity = Activity(Phase.RESTORING)
    goodput = Goodput(tmp_path, 10, activity)
    activity.switch(Phase.STEPPING)
    time.sleep(0.05)
    with activity.during(Phase.READING):
        time.sleep(0.05)
    scalars = goodput.scalars()
    assert scalars["time/step_seconds"] == pytest.approx(4.05, abs=0.04)
    assert scalars["time/restart_seconds"] == pytest.approx(3, abs=0.04)
    assert scalars["time/input_seconds"] == pytest.approx(0.05, abs=0.04)
    assert scalars["time/goodput"] == pytest.approx(4.05 / 7.1, abs=0.02)
