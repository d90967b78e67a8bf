"""Scoring a run's checkpoints: what is filed, what is refused, watching."""

import importlib.machinery
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from stand_ins import SIZE, Cheap, FakeSampler

from sagan import checkpoint, evaluate, evaluator, protocols, results, sample, watch
from sagan.config import Config, ConfigError, DataConfig, EvalConfig, ModelConfig, TrainConfig


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


def filed(workdir: Path, step: int) -> dict:
    return json.loads((workdir / "eval" / f"{step}.json").read_text())


def test_a_result_says_what_it_was_measured_with(workdir, capsys):
    (result,) = evaluate.run(workdir)
    assert filed(workdir, 30) == json.loads(json.dumps(result))
    assert set(result["metrics"]) == {"fid64", "is64", "is64_sd"}
    protocol = result["protocol"]
    assert set(protocols.FIELDS) <= set(protocol)
    assert protocol["features"] == "cheap" and protocol["resizer"] == "tf"
    assert protocol["reference"] == "synthetic:train" and protocol["num_real"] == 512
    assert len(protocol["reference_sha256"]) == 64
    assert protocol["num_fake"] == 64 and protocol["seed"] == 0 and protocol["ema"] is True
    assert protocol["batch_norm"].startswith("standing") and protocol["quantisation"] == "round"
    table = capsys.readouterr().out
    assert "fid64" in table and " 30 " in table

    assert (workdir / "eval" / "metrics.png").read_bytes().startswith(b"\x89PNG")
    assert list((workdir / "eval").glob("events.out.tfevents.*"))


def test_json_is_alone_on_stdout(workdir, capsys):
    evaluate.run(workdir, as_json=True)
    assert json.loads(capsys.readouterr().out) == filed(workdir, 30)


def test_more_metrics_are_added_and_another_protocol_replaces(workdir, capsys):
    evaluate.run(workdir)
    evaluate.run(workdir, metrics=["fid_768"])
    assert set(filed(workdir, 30)["metrics"]) == {"fid64", "is64", "is64_sd", "fid_768_64"}
    capsys.readouterr()
    evaluate.run(workdir, metrics=["fid"], num_images=100)
    assert set(filed(workdir, 30)["metrics"]) == {"fid100"}
    assert "30.json replaces fid64=" in capsys.readouterr().err


def test_all_fills_in_what_is_missing(workdir, monkeypatch):
    evaluate.run(workdir, step=20)
    scored = []
    original = evaluator.evaluate_step
    monkeypatch.setattr(
        watch, "evaluate_step", lambda e, s, **kw: scored.append(s.step) or original(e, s, **kw)
    )
    rows = evaluate.run(workdir, step="all")
    assert scored == [10, 30]
    assert [row["step"] for row in rows] == [10, 20, 30]
    values = [row["metrics"]["fid64"] for row in rows]
    assert values == sorted(values, reverse=True)


def test_best_is_by_the_metric_and_among_equal_fingerprints(workdir):
    config = checkpoint.read_config(workdir)
    with pytest.raises(ConfigError, match=r"no fid \(eval.best_metric\).*measured: nothing"):
        evaluate.run(workdir, step="best")
    evaluate.run(workdir, step="all")
    assert results.best_step(workdir, config) == 30
    worse = filed(workdir, 20)
    worse["metrics"]["fid64"] = 0.0
    results.path_of(workdir, 20).write_text(json.dumps(worse))
    assert results.best_step(workdir, config) == 20
    worse["protocol"]["resizer"] = "clean"
    worse["metrics"] = {"clean_fid64": 0.0}
    results.path_of(workdir, 20).write_text(json.dumps(worse))
    assert results.best_step(workdir, config) == 30
    (row,) = evaluate.run(workdir, step="best", metrics=["is"])
    assert row["step"] == 30


def test_several_seeds_give_mean_and_spread(workdir):
    each = [evaluate.run(workdir, seeds=(s,))[0]["metrics"]["fid64"] for s in (0, 1, 2)]
    (row,) = evaluate.run(workdir, seeds=(0, 1, 2))
    assert row["metrics"]["fid64"] == pytest.approx(np.mean(each))
    assert row["metrics"]["fid64_seed_sd"] == pytest.approx(np.std(each, ddof=1))
    assert row["protocol"]["seed"] == [0, 1, 2]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"metrics": ["kid"]}, "kid needs at least 1000 generated images, got 64"),
        ({"metrics": ["kid"], "num_images": 1000}, "kid needs at least 1000 real images, got 512"),
        ({"num_images": 1}, "fid needs at least 2 generated images, got 1"),
        ({"metrics": ["sfid"]}, "sfid needs features 'spatial': these weights lack a layer; .*fid"),
        ({"metrics": ["classifier_fid"]}, "cheap has no such output"),
        ({"num_real": 513}, "has 512 images, asked for 513"),
        ({"features": "nothing"}, "features='nothing' is unknown; known: .*inception"),
    ],
)
def test_what_cannot_work_is_refused_before_the_work(workdir, monkeypatch, arguments, message):
    monkeypatch.setattr(watch, "evaluate_step", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(ConfigError, match=message):
        evaluate.run(workdir, **arguments)


def test_classes_are_needed_where_a_metric_reads_them(workdir):
    made = evaluator.evaluator_of(checkpoint.read_config(workdir), metrics=["intra_fid"])
    made.check(64, labelled=True)
    with pytest.raises(ConfigError, match="intra_fid needs images with classes"):
        made.check(64, labelled=False)


def test_few_images_are_scored_with_a_warning(workdir, capsys):
    (row,) = evaluate.run(workdir, metrics=["fid"], num_images=5)
    assert len(row["warnings"]) == 1 and "5 images for 6 features" in row["warnings"][0]
    assert "warning: fid: 5 images" in capsys.readouterr().out


def test_watching_fills_in_survives_pruning_and_ends_with_the_run(
    workdir, steps, monkeypatch, capsys
):
    steps[:] = [10, 20]
    original = sample.load

    def load(workdir, step=None):
        if step == 20:
            steps.remove(20)  # pruned between the look and the load
        return original(workdir, step)

    monkeypatch.setattr(sample, "load", load)
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: steps.append(30))
    rows = evaluate.run(workdir, watch=True)
    assert [row["step"] for row in rows] == [10, 30]
    assert "step 20 was pruned" in capsys.readouterr().err
    assert filed(workdir, 30)["metrics"] == rows[1]["metrics"]


def test_an_error_that_is_not_pruning_is_raised(workdir, monkeypatch):
    def load(workdir, step=None):
        raise OSError("disk on fire")

    monkeypatch.setattr(sample, "load", load)
    with pytest.raises(OSError, match="disk on fire"):
        evaluate.run(workdir, watch=True)


def test_watching_a_dead_training_ends_after_its_last_step(workdir, steps, capsys):
    steps[:] = [10, 20]  # of 30
    rows = evaluate.run(workdir, watch=True, watch_timeout_seconds=0.2)
    assert [row["step"] for row in rows] == [10, 20]
    assert "no new checkpoint for 0.2 s" in capsys.readouterr().err
