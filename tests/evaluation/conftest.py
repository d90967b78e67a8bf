"""A run whose checkpoints and feature network cost nothing."""

import pytest
from support.stand_ins import DATA, SIZE, NoiseTask, write_checkpoint

from sagan.config import Config, EvalConfig, GanTrainConfig, ModelConfig
from sagan.evaluation import ScoreSpec, checkpoints
from sagan.runs import checkpoint

EVAL = EvalConfig(features="support.stand_ins", metrics=("fid", "is"), num_images=64)


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A run of 30 steps with checkpoints at 10, 20 and 30."""
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
    config = Config(
        name="noise",
        data=DATA,
        model=ModelConfig(image_size=SIZE, num_classes=4),
        train=GanTrainConfig(steps=30),
        eval=EVAL,
    )
    checkpoint.claim(tmp_path / "run", config)
    for step in (10, 20, 30):
        write_checkpoint(tmp_path / "run", step)
    return tmp_path / "run"


@pytest.fixture
def task():
    return NoiseTask()


@pytest.fixture
def spec():
    """Makes a spec of what the run's config asks for, with changes."""
    return lambda **changes: ScoreSpec.of(EVAL, **changes)


@pytest.fixture
def score(workdir, task, spec):
    """Scores the run: `score(step="all", metrics=("fid",))`."""

    def call(step="latest", watch=False, timeout=3600.0, as_json=False, **changes):
        return checkpoints.score_run(
            workdir,
            task,
            spec(**changes),
            step=step,
            watch=watch,
            watch_timeout_seconds=timeout,
            as_json=as_json,
        )

    return call
