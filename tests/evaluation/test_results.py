"""Scores in files: which file they are in, and which step is the best."""

import json

import pytest
from support.stand_ins import filed

from sagan.config import ConfigError
from sagan.evaluation import results
from sagan.runs import checkpoint


def others(workdir, step):
    return [results.read(path) for path in (workdir / "eval" / "others").glob(f"{step}.*.json")]


def test_more_metrics_are_added_and_another_protocol_is_stored_apart(workdir, score, capsys):
    score()
    score(metrics=("fid_768",))
    own = {"fid64", "is64", "is64_sd", "fid_768_64"}
    assert set(filed(workdir, 30)["metrics"]) == own
    capsys.readouterr()
    score(metrics=("fid",), num_images=100)
    assert set(filed(workdir, 30)["metrics"]) == own
    assert "others/30." in capsys.readouterr().err
    score(metrics=("is",), num_images=100)
    (beside,) = others(workdir, 30)
    assert set(beside["metrics"]) == {"fid100", "is100", "is100_sd"}


def test_own_scores_replace_others_and_newer_ones_replace_older(workdir, score, capsys):
    for number in (100, 200):
        score(metrics=("fid",), num_images=number)
    assert set(filed(workdir, 30)["metrics"]) == {"fid200"}
    assert "others/30." in capsys.readouterr().err
    score(metrics=("fid",), num_images=100)
    score(metrics=("fid",))
    assert set(filed(workdir, 30)["metrics"]) == {"fid64"} and filed(workdir, 30)["own"]
    assert sorted(key for r in others(workdir, 30) for key in r["metrics"]) == ["fid100", "fid200"]


def test_scores_of_another_protocol_do_not_change_the_best_step(workdir, score):
    config = checkpoint.read_config(workdir)
    score("all")
    best = filed(workdir, 20)
    best["metrics"]["fid64"] = 0.0
    results.path_of(workdir, 20).write_text(json.dumps(best))
    for step in ("best", "latest"):  # also if the best or the newest step has such scores
        score(step, num_images=100)
        assert results.best_step(workdir, config) == 20
    results.path_of(workdir, 30).unlink()  # as if training had not scored it
    score(num_images=100, truncation=0.5)
    assert results.best_step(workdir, config) == 20


def test_scores_that_are_stored_apart_are_found(workdir, task, score):
    score("all")
    first = score("all", num_images=100)
    loaded = list(task.loaded)
    assert score("all", num_images=100) == json.loads(json.dumps(first))
    assert score(watch=True, num_images=100) == []
    assert task.loaded == loaded


@pytest.mark.parametrize("text", ["7", '{"metrics": {"fid64": 0.0}, "protocol": {}}'])
def test_a_damaged_result_is_ignored_and_replaced(workdir, score, text):
    score("all")
    results.path_of(workdir, 20).write_text(text)
    assert results.best_step(workdir, checkpoint.read_config(workdir)) == 30
    score(20)
    assert "fid64" in filed(workdir, 20)["metrics"]


@pytest.mark.parametrize("pick", [min, max])
def test_a_score_that_is_nan_is_never_the_best(workdir, score, pick):
    score("all")
    found = results.read_all(workdir)
    step = pick(found)
    found[step]["metrics"]["fid64"] = float("nan")
    results.path_of(workdir, step).write_text(json.dumps(found[step]))
    assert results.best_step(workdir, checkpoint.read_config(workdir)) != step


def test_the_best_step_has_the_best_value_among_equal_fingerprints(workdir, score):
    config = checkpoint.read_config(workdir)
    with pytest.raises(ConfigError, match="no fid "):
        score("best")
    score("all")
    assert results.best_step(workdir, config) == 30
    other = filed(workdir, 20)
    other["metrics"]["fid64"] = 0.0
    results.path_of(workdir, 20).write_text(json.dumps(other))
    assert results.best_step(workdir, config) == 20
    other["protocol"]["resizer"] = "clean"
    other["metrics"] = {"clean_fid64": 0.0}
    results.path_of(workdir, 20).write_text(json.dumps(other))
    assert results.best_step(workdir, config) == 30
    (row,) = score("best", metrics=("is",))
    assert row["step"] == 30
