"""A run whose checkpoints and network cost nothing."""

import importlib.machinery
import sys
import types

import pytest
from support.stand_ins import SIZE, Cheap, FakeSampler

from sagan.config import Config, DataConfig, EvalConfig, ModelConfig, TrainConfig
from sagan.runs import checkpoint
from sagan.tasks.gan import sample


@pytest.fixture
def steps(monkeypatch):
    """The steps that have a checkpoint; tests add and remove some."""
    there = [10, 20, 30]
    monkeypatch.setattr(checkpoint, "steps", lambda workdir: sorted(there))
    monkeypatch.setattr(checkpoint, "damage", lambda workdir, step, items: "")

    def load(workdir, step=None):
        if step not in there:
            raise FileNotFoundError(step)
        return FakeSampler(checkpoint.read_config(workdir), step)

    monkeypatch.setattr(sample, "load", load)
    return there


@pytest.fixture
def workdir(tmp_path, monkeypatch, steps):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
    module = types.ModuleType("cheap_network")
    module.__spec__ = importlib.machinery.ModuleSpec("cheap_network", None)
    module.load = lambda *, weights=None, resizer="tf": Cheap(resizer)
    monkeypatch.setitem(sys.modules, "cheap_network", module)
    config = Config(
        name="fake",
        data=DataConfig(name="synthetic"),
        model=ModelConfig(image_size=SIZE, num_classes=4),
        train=TrainConfig(steps=30),
        eval=EvalConfig(features="cheap_network", metrics=("fid", "is"), num_images=64),
    )
    checkpoint.claim(tmp_path / "run", config)
    return tmp_path / "run"
