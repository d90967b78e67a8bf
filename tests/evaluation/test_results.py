"""Scores on disk: which file they are in, which step is the best, the plot."""

import itertools
import json

import pytest
from support.stand_ins import filed

from sagan.config import ConfigError
from sagan.evaluation import evaluate, results, watch
from sagan.runs import checkpoint


def test_more_metrics_are_added_and_another_protocol_lies_beside(workdir, capsys):
    evaluate.run(workdir)
    evaluate.run(workdir, metrics=["fid_768"])
    assert set(filed(workdir, 30)["metrics"]) == {"fid64", "is64", "is64_sd", "fid_768_64"}
    capsys.readouterr()
    evaluate.run(workdir, metrics=["fid"], num_images=100)
    assert set(filed(workdir, 30)["metrics"]) == {"fid64", "is64", "is64_sd", "fid_768_64"}
    assert "30.json keeps the run's own fid64=" in capsys.readouterr().err
    evaluate.run(workdir, metrics=["is"], num_images=100)
    (beside,) = (workdir / "eval" / "others").glob("30.*.json")
    assert set(results.read(beside)["metrics"]) == {"fid100", "is100", "is100_sd"}


def test_the_own_protocol_takes_its_place_from_others_and_newer_ones_from_older(workdir, capsys):
    for number in (100, 200):
        evaluate.run(workdir, metrics=["fid"], num_images=number)
    assert set(filed(workdir, 30)["metrics"]) == {"fid200"}
    assert "of another protocol, moved from 30.json to others/30." in capsys.readouterr().err
    evaluate.run(workdir, metrics=["fid"], num_images=100)
    evaluate.run(workdir, metrics=["fid"])
    assert set(filed(workdir, 30)["metrics"]) == {"fid64"} and filed(workdir, 30)["own"]
    beside = [results.read(path) for path in (workdir / "eval" / "others").glob("30.*.json")]
    assert sorted(key for r in beside for key in r["metrics"]) == ["fid100", "fid200"]


def test_another_protocol_hides_no_best_step(workdir):
    """Neither that of the best step, nor that of the newest, by which others are told apart."""
    config = checkpoint.read_config(workdir)
    evaluate.run(workdir, step="all")
    best = filed(workdir, 20)
    best["metrics"]["fid64"] = 0.0
    results.path_of(workdir, 20).write_text(json.dumps(best))
    for step in ("best", "latest"):
        evaluate.run(workdir, step=step, num_images=100)
        assert results.best_step(workdir, config) == 20
    results.path_of(workdir, 30).unlink()  # as if training did not score it
    evaluate.run(workdir, num_images=100, truncation=0.5)
    assert results.best_step(workdir, config) == 20


def test_what_lies_beside_is_drawn_too(workdir, monkeypatch):
    from matplotlib.axes import Axes

    evaluate.run(workdir, step="all", metrics=["fid"])
    for seeds in ((0,), (1,)):
        evaluate.run(workdir, metrics=["fid"], num_images=100, seeds=seeds)
    results.path_of(workdir, 20).unlink()
    evaluate.run(workdir, step=20, metrics=["fid"], truncation=0.5)  # no part of that curve
    drawn, original = {}, Axes.set_title
    line = Axes.errorbar
    monkeypatch.setattr(Axes, "errorbar", lambda a, x, *r, **o: a.set_gid(x) or line(a, x, *r, **o))
    monkeypatch.setattr(
        Axes, "set_title", lambda a, t: drawn.update({t: a.get_gid()}) or original(a, t)
    )
    results.plot(workdir)
    assert drawn == {"fid64": [10, 30], "fid100": [30]}


def test_what_lies_beside_is_done_too(workdir, monkeypatch):
    evaluate.run(workdir, step="all")
    first = evaluate.run(workdir, step="all", num_images=100)
    monkeypatch.setattr(watch, "evaluate_step", lambda *_, **__: pytest.fail("work was done"))
    assert evaluate.run(workdir, step="all", num_images=100) == json.loads(json.dumps(first))
    assert evaluate.run(workdir, watch=True, num_images=100) == []


@pytest.mark.parametrize("text", ["7", '{"metrics": {"fid64": 0.0}, "protocol": {}}'])
def test_a_damaged_result_is_passed_over_and_replaced(workdir, text):
    evaluate.run(workdir, step="all")
    results.path_of(workdir, 20).write_text(text)
    assert results.best_step(workdir, checkpoint.read_config(workdir)) == 30
    evaluate.run(workdir, step=20)
    assert "fid64" in filed(workdir, 20)["metrics"]


def test_a_plot_that_fails_is_a_warning(workdir, monkeypatch, capsys):
    def fail(workdir):
        raise RuntimeError("no fonts")

    monkeypatch.setattr(results, "plot", fail)
    evaluate.run(workdir)
    assert "warning: eval/metrics.png was not drawn: no fonts" in capsys.readouterr().err


def test_two_processes_draw_one_plot(workdir, monkeypatch):
    """The second begins when the first is about to put its own in place."""
    from matplotlib.figure import Figure

    evaluate.run(workdir)
    save, pids = Figure.savefig, itertools.count()
    monkeypatch.setattr("os.getpid", lambda: next(pids))

    def twice(figure, *args, **options):
        save(figure, *args, **options)
        monkeypatch.setattr(Figure, "savefig", save)
        results.plot(workdir)

    monkeypatch.setattr(Figure, "savefig", twice)
    assert results.plot(workdir).exists()
    assert [p.name for p in (workdir / "eval").glob(".*")] == []


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
