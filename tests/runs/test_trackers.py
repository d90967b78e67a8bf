"""Trackers: TensorBoard itself, and stand-ins that record what the others are told."""

import json
import sys
import types

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sagan.config import ConfigError, make
from sagan.runs import trackers
from sagan.runs.logs import RunLog

PICTURE = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


def config(*names):
    return make(name="shown", data={"name": "synthetic"}, log={"trackers": names})


class Recorder:
    """Stands in for the modules wandb and trackio, and for their runs."""

    def __init__(self, name):
        self.__spec__ = types.SimpleNamespace(name=name)
        self.begun, self.logged, self.axes, self.finished = [], [], [], 0

    def init(self, **how):
        self.begun.append(how)
        return self

    def define_metric(self, name, step_metric=None):
        self.axes.append((name, step_metric))

    def log(self, values, step=None):
        self.logged.append((step, values))

    def finish(self):
        self.finished += 1

    @staticmethod
    def Image(picture):
        return picture.shape


@pytest.fixture(params=["wandb", "trackio"])
def recorder(request, monkeypatch):
    made = Recorder(request.param)
    monkeypatch.setitem(sys.modules, request.param, made)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return made


def write(workdir, config, step=0):
    """Writes one line and one sheet, as a run does."""
    trackers.check(config.log.trackers)
    with RunLog(workdir, step, trackers.start(workdir, config, step)) as log:
        log.write(step + 1, {"loss/d": 0.5})
        log.picture(step + 1, PICTURE)


def test_tensorboard_gets_scalars_and_sheets(tmp_path):
    write(tmp_path, config("tensorboard"))
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/d")] == [(1, 0.5)]
    (image,) = events.Images("samples")
    assert (image.step, image.width, image.height) == (1, 6, 4)
    assert image.encoded_image_string.startswith(b"\x89PNG")


def test_the_others_are_told_steps_scalars_sheets_and_the_end(recorder, tmp_path):
    name = recorder.__spec__.name
    write(tmp_path, config("tensorboard", name))
    scalars, sheets = recorder.logged
    if name == "wandb":
        assert scalars == (None, {"step": 1, "loss/d": 0.5})
        assert sheets == (None, {"step": 1, "samples": (4, 6, 3)})
        assert ("*", "step") in recorder.axes
    else:
        assert scalars == (1, {"loss/d": 0.5}) and sheets == (1, {"samples": (4, 6, 3)})
    (how,) = recorder.begun
    assert how["project"] == "sagan" and how["config"]["seed"] == 0 and how["resume"] == "allow"
    assert recorder.finished == 1 and (tmp_path / "events").is_dir()


def test_a_resumed_run_is_the_same_one_to_a_tracker(recorder, tmp_path):
    for step in (0, 1):
        write(tmp_path / "run", config(recorder.__spec__.name), step)
    write(tmp_path / "other", config(recorder.__spec__.name))
    first, again, other = ((how.get("id"), how["name"]) for how in recorder.begun)
    assert first == again != other
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_a_tracker_that_does_not_start_is_named_and_others_are_closed(tmp_path, monkeypatch):
    first, second = Recorder("wandb"), Recorder("trackio")
    second.init = lambda **_: 1 / 0
    for made in (first, second):
        monkeypatch.setitem(sys.modules, made.__spec__.name, made)
    with pytest.raises(ConfigError, match="trackio.*division"):
        trackers.start(tmp_path, config("wandb", "trackio"), 0)
    assert first.finished == 1


def test_trackers_are_closed_if_one_cannot_be_opened_for_want_of_a_network(tmp_path, monkeypatch):
    first, second = Recorder("wandb"), Recorder("trackio")
    second.init = lambda **_: (_ for _ in ()).throw(ConnectionError)
    for made in (first, second):
        monkeypatch.setitem(sys.modules, made.__spec__.name, made)
    with pytest.raises(ConnectionError):
        trackers.start(tmp_path, config("wandb", "trackio"), 0)
    assert first.finished == 1


@pytest.mark.parametrize("call", ["log", "finish"])
def test_a_tracker_that_fails_does_not_end_the_run(recorder, tmp_path, monkeypatch, capsys, call):
    monkeypatch.setattr(recorder, call, lambda *_, **__: 1 / 0)
    write(tmp_path, config(recorder.__spec__.name, "tensorboard"))
    assert "division" in capsys.readouterr().err
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert len(events.Scalars("loss/d")) == len(events.Images("samples")) == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "fact"), [("wandbb", "did you mean wandb"), ("wandb", "sagan.wandb")]
)
def test_unknown_and_absent_trackers_are_refused(name, fact, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"log.trackers.*{fact}"):
        trackers.check([name])
