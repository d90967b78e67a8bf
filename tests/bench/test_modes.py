"""The modes of `sagan bench` that compare: with other programs, devices, dtypes and configs."""

import json
import shlex
import sys

import numpy as np
import pytest
from PIL import Image

from sagan import cli
from sagan.bench import (
    against_cpu,
    attention,
    beside,
    measure,
    precision,
    report,
    sweep,
)
from sagan.config import ConfigError, presets

TINY = ["debug", "model.name=support.attentive_pair", "train.batch_size=8"]


# Stands in for the interpreter: notes its arguments in `asked`, and acts on them.
STAND_IN = """#!/bin/sh
exec {python} -S - "$@" <<'PYTHON'
import json, os, sys
words, here = sys.argv[1:], {here!r}
with open(here + "/asked", "a") as file:
    print(json.dumps(words), file=file)
turn = open(here + "/asked").read().count("bench") - 1
{program}
PYTHON
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Replaces the interpreter that child processes run with; returns how to ask for the calls."""

    real = sys.executable

    def install(program):
        path = tmp_path / "python"
        text = STAND_IN.format(python=real, here=str(tmp_path), program=program)
        path.write_text(text)
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        (tmp_path / "asked").unlink(missing_ok=True)

    def asked():
        return [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]

    return install, asked


def test_turns_alternate_and_are_compared_one_by_one(stand_in, capsys, tmp_path):
    install, asked = stand_in
    install("""
ours, theirs = [10.0, 30.0, 24.0][turn], [5.0, 10.0, 6.0][turn]
if words[0] == "other":
    print(json.dumps({"images_per_second": theirs, "params_g": 7}))
else:
    print(json.dumps({"config": "debug", "train": {"images_per_second": ours}}))
""")
    other = shlex.join([sys.executable, "other", "--fast"])
    words = ["bench", "debug", "seed=3", "--beside", other, "--json"]
    assert cli.main([*words, "--out", str(tmp_path / "plot.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [call[0] for call in asked()] == ["-m", "other"] * 3
    assert asked()[0][2:5] == ["bench", "debug", "seed=3"]
    assert found["train"]["images_per_second"] == 24  # where scripts look for it
    (other,) = found["beside"]
    assert other["ours_over_theirs"] == 3  # of 2, 3 and 4, not of the medians
    assert other["ours_over_theirs_quartiles"] == [2.5, 3.5]
    assert other["last"]["params_g"] == 7
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_another_part_than_training_is_compared_if_it_has_one_rate(stand_in, capsys):
    install, asked = stand_in
    install("""
rate = {"images_per_second": 2.0 if words[0] == "other" else 3.0}
print(json.dumps(rate if words[0] == "other" else {"features": rate}))
""")
    words = ["bench", "debug", "--beside", f"{sys.executable} other", "--json", "--parts"]
    assert cli.main([*words, "features"]) == 0
    assert json.loads(capsys.readouterr().out)["beside"][0]["ours_over_theirs"] == 1.5
    assert asked()[0][asked()[0].index("--parts") + 1] == "features"
    for parts in ("input", "train,features"):
        assert cli.main([*words, parts]) == 2
        error = capsys.readouterr().err
        assert parts in error and "train, sampling, features" in error


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("raise SystemExit(7)", "7"),
        ("print('fast')", "images_per_second"),
        ("print('{}')", "images_per_second"),
        ("pass", "images_per_second"),
    ],
)
def test_a_command_without_a_figure_is_an_error(stand_in, code, fact):
    stand_in[0](f"""
if words[0] == "other":
    {code}
else:
    print(json.dumps({{"train": {{"images_per_second": 1.0}}}}))
""")
    with pytest.raises(ConfigError, match=f"other.*{fact}"):
        beside.run(["debug"], [f"{sys.executable} other"], "train", rounds=1, repeats=1)
    with pytest.raises(ConfigError, match="/nowhere/other"):
        beside.run(["debug"], ["/nowhere/other"], "train", rounds=1, repeats=1)


def test_the_last_line_is_the_figure(stand_in):
    stand_in[0]("""
print("warming up")
rate = {"images_per_second": 2.5}
print(json.dumps(rate if words[0] == "other" else {"train": rate}))
""")
    found = beside.run(["debug"], [f"{sys.executable} other"], "train", rounds=1, repeats=1)
    assert found["beside"][0][beside.RATE] == 2.5


def test_each_quantity_agrees_with_itself_and_not_with_a_wrong_one():
    expected = against_cpu.compute(TINY)
    assert {"forward image", "forward logits", "forward map/attention_8"} <= set(expected)
    assert {"step gradient/g", "step gradient/d", "step loss/g"} <= set(expected)
    assert all(np.isfinite(value).all() and value.any() for value in expected.values())
    assert all(row["agrees"] for row in against_cpu.compared(expected, expected))
    wrong = {name: 1.002 * value for name, value in expected.items()}
    assert not any(row["agrees"] for row in against_cpu.compared(wrong, expected))


def test_a_difference_that_is_nan_is_not_tolerated():
    (row,) = against_cpu.compared({"step x": np.array([np.nan])}, {"step x": np.array([1.0])})
    assert row["agrees"] is False


def test_scores_of_both_dtypes_are_compared_over_seeds(stand_in, tmp_path, capsys):
    install, asked = stand_in
    install("""
told = dict(word.split("=") for word in words if "=" in word)
worse = 10 if told["model.dtype"] == "bfloat16" else 0
scores = {"same": int(told["seed"]), "worse": int(told["seed"]) + worse}
os.makedirs(words[-1] + "/eval", exist_ok=True)
for step, found in (("900", {}), ("1000", scores)):
    with open(f"{words[-1]}/eval/{step}.json", "w") as file:
        json.dump({"metrics": found}, file)
""")
    words = ["bench", "debug", "--against-float32", str(tmp_path / "runs"), "--json"]
    assert cli.main(words) == 1  # one of the metrics differs
    found = json.loads(capsys.readouterr().out)
    assert [call[2:4] for call in asked()] == [["train", "debug"]] * 6
    assert {call[-1] for call in asked()} == {
        str(tmp_path / "runs" / f"{dtype}-{seed}")
        for dtype in ("float32", "bfloat16")
        for seed in range(3)
    }
    assert found["metrics"]["same"]["within_noise"] is True
    worse = found["metrics"]["worse"]
    # Three seeds each, unit variance: standard error sqrt(2/3), t = 12.2, four degrees of freedom.
    assert worse["difference"] == 10 and worse["within_noise"] is False
    assert worse["standard_error"] == pytest.approx((2 / 3) ** 0.5)
    assert worse["p"] == pytest.approx(0.000257, rel=0.01)
    install("sys.exit(42)")
    assert cli.main(words) == 42  # stopped: the same command resumes


def test_scores_with_given_weights_come_from_a_command_of_their_own(stand_in, tmp_path):
    install, asked = stand_in
    install("sys.exit(2)")
    words = ["bench", "debug", "--against-float32", str(tmp_path), "--weights", "w.npz"]
    assert cli.main(words) == 2
    reference = ["reference", "debug", "--weights", "w.npz"]
    assert [call[2:] for call in asked()] == [reference]  # nothing was trained with wrong weights
    install("""
if words[2] == "eval":
    os.makedirs(words[3] + "/eval", exist_ok=True)
    with open(words[3] + "/eval/9.json", "w") as file:
        json.dump({"metrics": {"score": 1}}, file)
""")
    assert cli.main(words) == 0
    first, *others = [call[2:] for call in asked()]
    assert first == reference
    assert [call[0] for call in others] == ["train", "eval"] * 6
    assert all("eval.at_end=false" in call for call in others[::2])
    assert all(call[2:] == ["--weights", "w.npz"] for call in others[1::2])


def test_equal_scores_without_any_spread():
    assert precision.compared([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])["within_noise"] is True
    assert precision.compared([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])["within_noise"] is False


def test_forms_of_attention_are_measured_and_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(attention, "SIZES", (8, 16))
    monkeypatch.setattr(attention, "BLOCK", 8)
    path = tmp_path / "attention.png"
    words = ["bench", "debug", "--attention", "--repeats", "1", "--json", "--out", str(path)]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["form"], row["size"]) for row in found][3:5] == [("local_2d", 8), ("full", 16)]
    assert all(row["seconds_median"] > 0 and row["temporary_bytes"] > 0 for row in found)
    apart = [row.get("difference_from_full") for row in found[:4]]
    assert apart[0] == 0 and apart[1] < 1e-5 and apart[2:] == [None, None]
    assert path.stat().st_size > 5000


def test_a_sweep_measures_every_value(monkeypatch, tmp_path):
    def measured(config, *, repeats, parts):
        size = config.train.batch_size
        head = {"config": "debug", "devices": "1", "data": "x", "dtype": "float32"}
        train = {"images_per_second": size**0.5, "peak_bytes_per_device": size, "other": 1}
        return head | {"train": train}

    monkeypatch.setattr(measure, "measure", measured)
    found = sweep.run(presets.load("debug"), "train.batch_size=4,16", 1)
    assert found["rows"] == [
        {"value": 4, "images_per_second": 2, "peak_bytes_per_device": 4},
        {"value": 16, "images_per_second": 4, "peak_bytes_per_device": 16},
    ]
    sweep.draw(found, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 5000


def test_a_table_has_a_column_for_every_key(capsys):
    shown = [{"name": "a", "size": 1234.5}, {"name": "long", "size": 0.25, "more": True}]
    report.show([{"rows": shown}], as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["name", "size", "more"],
        ["a", "1,234"],
        ["long", "0.25", "True"],
    ]
    assert (
        len({line.index(word) for line, word in zip(lines[1:], ("size", "1,", "0."), strict=True)})
        == 1
    )


def test_bars_have_room_beside_long_names(tmp_path):
    sizes = []
    for name in ("x", "python program.py " + "--option 1 " * 12):
        report.bars(tmp_path / "bars.png", {"sagan": 20.0, name: 10.0}, "images per second")
        picture = np.asarray(Image.open(tmp_path / "bars.png").convert("RGB")).astype(int)
        blue = picture[..., 2] - picture[..., 0] > 100
        sizes.append(blue.any(0).sum())  # the longest bar
    assert min(sizes) > 300
