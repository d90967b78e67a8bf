"""Results as a table and as a plot over steps."""

import pytest
from support.stand_ins import filed

from sagan.evaluation import presentation, results


def test_the_table_has_a_row_per_result_and_a_column_per_score():
    rows = [("10", {"fid": 12.345678, "is": 2.0}), ("20", {"fid": 1234.5})]
    lines = presentation.score_table(rows, "step").splitlines()
    assert [line.split() for line in lines] == [
        ["step", "fid", "is"],
        ["10", "12.35", "2"],
        ["20", "1234", "-"],
    ]


def test_curves_contain_only_results_that_compare(workdir, score):
    score("all", metrics=("fid",))
    for seeds in ((0,), (1,)):
        score(metrics=("fid",), num_images=100, seeds=seeds)
    results.path_of(workdir, 20).unlink()
    score(20, metrics=("fid",), truncation=0.5)  # not a part of the curve
    curves = presentation.curves(workdir)
    assert {key: list(curve.scores) for key, curve in curves.items()} == {
        "fid64": [10, 30],
        "fid100": [30],
    }
    assert presentation.plot(workdir).read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in (workdir / "eval").glob(".*")] == []


def test_nothing_is_drawn_before_anything_is_scored(workdir):
    assert presentation.plot(workdir) is None


def test_a_plot_that_fails_is_a_warning(workdir, score, monkeypatch, capsys):
    def fail(workdir):
        raise RuntimeError("no fonts")

    monkeypatch.setattr(presentation, "plot", fail)
    score()
    assert "no fonts" in capsys.readouterr().err
    assert filed(workdir, 30)["metrics"]


@pytest.mark.parametrize("as_json", [False, True])
def test_warnings_follow_the_table_once_and_stay_out_of_json(score, capsys, as_json):
    score("all", num_images=5, metrics=("fid",), as_json=as_json)
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if line.startswith("warning:")]) == (0 if as_json else 1)
