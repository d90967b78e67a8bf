"""Scoring the checkpoints of a run: what is stored, what is refused, watching."""

import json
import threading

import numpy as np
import pytest
from support.stand_ins import NoiseTask, filed, prune, write_checkpoint

from sagan.config import ConfigError
from sagan.evaluation import checkpoints
from sagan.runs.checkpoint import CheckpointError


def test_a_result_records_how_it_was_measured(workdir, score, capsys):
    (result,) = score()
    assert filed(workdir, 30) == json.loads(json.dumps(result))
    assert set(result["metrics"]) == {"fid64", "is64", "is64_sd"}
    protocol = dict(result["protocol"])
    assert len(protocol.pop("reference_sha256")) == 64
    assert protocol == {
        "features": "cheap",
        "weights_sha256": "00",
        "resizer": "tf",
        "reference": "synthetic:train",
        "num_real": 512,
        "num_fake": 64,
        "image_size": 8,
        "quantisation": "round",
        "batch_norm": "none",
        "ema": True,
        "truncation": None,
        "seed": 0,
    }
    table = capsys.readouterr().out
    assert "fid64" in table and " 30 " in table
    assert (workdir / "eval" / "metrics.png").read_bytes().startswith(b"\x89PNG")
    assert list((workdir / "eval").glob("events.out.tfevents.*"))


def test_json_is_alone_on_stdout(workdir, score, capsys):
    score(as_json=True)
    assert json.loads(capsys.readouterr().out) == filed(workdir, 30)


def test_scores_that_cannot_be_stored_are_printed(workdir, score, capsys):
    (workdir / "eval").write_text("in the way")
    with pytest.raises(checkpoints.UnfiledError, match=str(workdir)):
        score(as_json=True)
    assert json.loads(capsys.readouterr().out)["step"] == 30


def test_a_step_is_scored_once_it_has_what_its_config_asks_for(workdir, task, spec, score):
    scorer = task.scorer(spec())
    assert not checkpoints.is_scored(workdir, 30, scorer)
    score(30, num_images=100)
    score(30, metrics=("fid",))
    assert not checkpoints.is_scored(workdir, 30, scorer)
    checkpoints.score_run(workdir, task, spec(), step=30, scorer=scorer)
    assert checkpoints.is_scored(workdir, 30, scorer)


def test_all_scores_the_steps_that_have_no_scores(score, task):
    score(20)
    rows = score("all")
    assert task.loaded == [20, 10, 30]
    assert [row["step"] for row in rows] == [10, 20, 30]
    values = [row["metrics"]["fid64"] for row in rows]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("step, error", [(15, CheckpointError), ("newest", ConfigError)])
def test_a_step_that_is_not_there(score, step, error):
    with pytest.raises(error, match=str(step)):
        score(step)


def test_several_seeds_give_mean_and_spread(score):
    each = [score(seeds=(s,))[0]["metrics"]["fid64"] for s in (0, 1, 2)]
    (row,) = score(seeds=(0, 1, 2))
    assert row["metrics"]["fid64"] == pytest.approx(np.mean(each))
    assert row["metrics"]["fid64_seed_sd"] == pytest.approx(np.std(each, ddof=1))
    assert row["protocol"]["seed"] == [0, 1, 2]


@pytest.mark.parametrize("changes, own", [
    ({"metrics": ("fid",)}, True),
    ({"num_images": 64, "seeds": (0,), "resizer": "tf"}, True),
    ({"num_images": 100}, False),
    ({"seeds": (1,)}, False),
    ({"truncation": 0.5}, False),
    ({"num_real": 100}, False),
    ({"resizer": "clean"}, False),
])  # fmt: skip
def test_own_scores_are_those_measured_as_the_config_asks(score, changes, own):
    (row,) = score(**changes)
    assert row["own"] is own


def test_few_images_are_scored_with_a_warning(score, capsys):
    (row,) = score(metrics=("fid",), num_images=5)
    (warning,) = row["warnings"]
    assert "fid" in warning and "5 images" in warning and "6 features" in warning
    assert warning in capsys.readouterr().out


class PruningTask(NoiseTask):
    """A task in which step 20 disappears between being found and being loaded."""

    def load_sampler(self, workdir, step, *, ema_sigma=None):
        if step == 20:
            prune(workdir, 20)
        return super().load_sampler(workdir, step)


def test_watching_scores_missed_steps_and_ends_with_the_run(workdir, spec, capsys):
    prune(workdir, 30)
    later = threading.Timer(1.0, write_checkpoint, (workdir, 30))
    later.start()
    rows = checkpoints.score_run(
        workdir, PruningTask(), spec(), watch=True, watch_timeout_seconds=4.0
    )
    later.join()
    assert [row["step"] for row in rows] == [10, 30]
    assert "step 20" in capsys.readouterr().err
    assert filed(workdir, 30)["metrics"] == rows[1]["metrics"]


def test_a_damaged_step_is_passed_over_among_others_and_refused_alone(workdir, score, capsys):
    (workdir / "checkpoints" / "20" / "manifest.json").unlink()
    assert [row["step"] for row in score("all")] == [10, 30]
    assert "step 20" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="20"):
        score(20)


def test_an_error_that_is_not_pruning_is_raised(workdir, spec):
    class Broken(NoiseTask):
        def load_sampler(self, workdir, step, *, ema_sigma=None):
            raise OSError("disk on fire")

    with pytest.raises(OSError, match="disk on fire"):
        checkpoints.score_run(workdir, Broken(), spec(), watch=True)


def test_watching_a_dead_training_ends_after_its_last_step(workdir, score, capsys):
    prune(workdir, 30)
    rows = score(watch=True, timeout=0.2)
    assert [row["step"] for row in rows] == [10, 20]
    assert "0.2 s" in capsys.readouterr().err


def test_waiting_for_a_training_that_starts_later(tmp_path):
    workdir = tmp_path / "late"
    workdir.mkdir()
    later = threading.Timer(0.3, (workdir / "config.json").write_text, ("{}",))
    later.start()
    checkpoints.wait_for_config(workdir, 30.0)
    assert (workdir / "config.json").exists()
    later.join()
    checkpoints.wait_for_config(tmp_path / "never", 0.1)
