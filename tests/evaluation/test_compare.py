"""Two results side by side; results that were measured differently are refused."""

import json

import pytest
from scipy import stats

from sagan.config import ConfigError, make
from sagan.evaluation import compare, protocol
from sagan.runs import checkpoint

FIELDS = [
    "features", "weights_sha256", "resizer", "reference_sha256", "num_real", "num_fake",
    "image_size", "quantisation", "batch_norm", "ema", "truncation",
]  # fmt: skip
PROTOCOL = dict.fromkeys(FIELDS, "x") | {"num_fake": 10, "seed": 0, "reference": "x"}


def result(path, metrics, **changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"step": 1, "metrics": metrics, "protocol": PROTOCOL | changes}))
    return str(path)


def test_results_measured_alike_are_printed_side_by_side(tmp_path, capsys):
    a = result(tmp_path / "a.json", {"fid50k": 10.0, "is50k": 8.0})
    b = result(tmp_path / "b.json", {"fid50k": 12.5}, seed=1)
    compare.run([a, b])
    assert "fid50k" in (out := capsys.readouterr().out) and "2.5" in out and "is50k" not in out
    compare.run([a, b], as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["metrics"] == {"fid50k": {"a": 10.0, "b": 12.5, "difference": 2.5}}


@pytest.mark.parametrize("field", FIELDS)
def test_a_difference_in_any_field_is_refused(tmp_path, field):
    a = result(tmp_path / "a.json", {"fid50k": 10.0})
    another = 11 if field == "num_fake" else "another"
    b = result(tmp_path / "b.json", {"fid50k": 10.0}, **{field: another})
    with pytest.raises(ConfigError, match=f"{field}: .*{another!r}"):
        compare.run([a, b])


def test_all_differing_fields_are_named(tmp_path):
    a = result(tmp_path / "a.json", {"fid50k": 10.0})
    b = result(tmp_path / "b.json", {"fid50k": 10.0}, resizer="clean", num_real=7)
    with pytest.raises(ConfigError, match="num_real: 'x' / 7; resizer: 'x' / 'clean'"):
        compare.run([a, b])


def test_images_from_files_compare_with_checkpoints(tmp_path, capsys):
    a = result(tmp_path / "a.json", {"fid50k": 10.0})
    b = result(tmp_path / "b.json", {"fid50k": 11.0}, **protocol.of_files())
    compare.run([a, b])
    assert "11" in capsys.readouterr().out


def test_checkpoints_compare_only_with_the_same_truncation(tmp_path):
    whole = result(tmp_path / "a.json", {"fid50k": 10.0}, truncation=None)
    half = result(tmp_path / "b.json", {"fid50k": 11.0}, truncation=0.5)
    one = result(tmp_path / "c.json", {"fid50k": 11.0}, truncation=1.0)
    for pair in ((whole, half), (half, whole)):
        with pytest.raises(ConfigError, match="truncation: "):
            compare.run(pair)
    compare.run([whole, one])  # psi = 1 truncates nothing
    for drawn in (whole, half):
        files = result(tmp_path / "d.json", {"fid50k": 11.0}, **protocol.of_files())
        compare.run([drawn, files])


def test_a_work_directory_stands_for_its_last_result(tmp_path, capsys):
    result(tmp_path / "run/eval/9.json", {"fid50k": 9.0})
    result(tmp_path / "run/eval/10.json", {"fid50k": 10.0})
    other = result(tmp_path / "b.json", {"fid50k": 12.0})
    compare.run([str(tmp_path / "run"), other])
    assert "run:10" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"a": 1}',
        '{"metrics": {"fid50k": 1.0}, "protocol": {}}',
        '{"metrics": {"fid50k": 1.0}, "protocol": null}',
        '{"metrics": {"fid50k": 1.0}, "protocol": {"num_fake": "x", "resizer": "tf"}}',
        '{"metrics": {"fid50k": 1.0}, "protocol": {"num_fake": 5, "resizer": 5}}',
        '{"metrics": {"fid50k": null}, "protocol": {"num_fake": 5, "resizer": "tf"}}',
        '{"metrics": [], "protocol": {"num_fake": 5, "resizer": "tf"}}',
    ],
)
def test_files_that_are_not_results_are_refused(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match="a.json"):
        compare.run([str(path), str(path)])


def test_nothing_to_compare(tmp_path):
    a = result(tmp_path / "a.json", {"fid50k": 10.0})
    b = result(tmp_path / "b.json", {"is50k": 10.0})
    with pytest.raises(ConfigError, match="fid50k.*is50k"):
        compare.run([a, b])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=str(tmp_path / "empty")):
        compare.run([str(tmp_path / "empty"), b])


def scored_run(folder, value, **fields):
    """A work directory with one result; returns its path."""
    checkpoint.claim(folder, make(**{"data": {"name": "synthetic"}} | fields))
    result(folder / "eval" / "5.json", {"fid50k": value})
    return str(folder)


@pytest.fixture
def two_experiments(tmp_path):
    """Three seeds of one config, and three of another."""
    one = [scored_run(tmp_path / f"a{n}", x, seed=n) for n, x in enumerate((10.0, 11.0, 12.0))]
    other = {"optim": {"beta1": 0.5}}
    values = enumerate((14.0, 13.0, 17.0))
    return one, [scored_run(tmp_path / f"b{n}", x, seed=n, **other) for n, x in values]


def test_seeds_have_a_mean_and_two_means_are_tested(two_experiments, capsys):
    one, two = two_experiments
    compare.run([one[0], *two, *one[1:]], as_json=True)
    shown = json.loads(capsys.readouterr().out)
    a, b = shown["means"].values()
    assert a["fid50k"] == {"mean": 11.0, "sd": 1.0, "n": 3}
    assert b["fid50k"]["mean"] == pytest.approx(44 / 3)
    (test,) = shown["welch"]
    expected = stats.ttest_ind([10, 11, 12], [14, 13, 17], equal_var=False).pvalue
    assert test["p"]["fid50k"] == pytest.approx(expected)
    assert [one["seed"] for one in shown["results"]] == [0, 0, 1, 2, 1, 2] and "a" not in shown
    compare.run([*one, *two])
    table = capsys.readouterr().out
    assert "11 ± 1" in table and f"{expected:.4g}" in table


def test_runs_that_differ_in_more_than_the_seed_have_no_mean(tmp_path, capsys):
    runs = [scored_run(tmp_path / f"r{n}", 10.0 + n, name=f"r{n}", optim={"beta1": n / 10})
            for n in range(3)]  # fmt: skip
    compare.run(runs, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert shown["means"] == {} and shown["welch"] == []


def test_one_run_twice_among_several_is_refused(two_experiments):
    one, two = two_experiments
    with pytest.raises(ConfigError, match="a0:5.*twice"):
        compare.run([one[0], one[0], two[0]])


def test_one_of_several_that_was_measured_otherwise_is_named(two_experiments, tmp_path):
    one, _ = two_experiments
    odd = result(tmp_path / "odd.json", {"fid50k": 1.0}, resizer="clean")
    with pytest.raises(ConfigError, match="odd.json.*resizer"):
        compare.run([*one, odd])


def test_a_single_result_is_refused(two_experiments):
    with pytest.raises(ConfigError, match="two or more"):
        compare.run(two_experiments[0][:1])


def test_experiments_whose_folders_are_called_alike_stay_apart(tmp_path, capsys):
    runs = [
        scored_run(tmp_path / name / f"seed{n}", 10.0 + n, seed=n, optim={"beta1": beta1})
        for name, beta1 in (("a", 0.0), ("b", 0.5))
        for n in range(2)
    ]
    compare.run(runs, as_json=True)
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["means"]) == 2 and len(shown["welch"]) == 1
    assert len({one["name"] for one in shown["results"]}) == 4


def test_means_without_spread_have_no_p_value(tmp_path, capsys):
    runs = [
        scored_run(tmp_path / f"{beta1}-{n}", 10.0, seed=n, optim={"beta1": beta1})
        for beta1 in (0.0, 0.5)
        for n in range(2)
    ]
    compare.run(runs, as_json=True)
    shown = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert shown["welch"][0]["p"] == {"fid50k": None}


def test_a_result_beside_the_config_of_another_program_is_read(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"learning": "of another program"}')
    a = result(tmp_path / "scores" / "a.json", {"fid50k": 10.0})
    b = result(tmp_path / "scores" / "b.json", {"fid50k": 12.0})
    compare.run([a, b])
    assert "12" in capsys.readouterr().out
