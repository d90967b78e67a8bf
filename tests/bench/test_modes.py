"""The modes of `sagan bench` that start other processes, or many: what they ask and conclude."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from sagan import cli
from sagan.bench import agree, attention, beside, gate, measure, report, sweep
from sagan.config import ConfigError, presets
from sagan.models.layers import conv

TINY = ["debug", "model.g_channels=4", "model.d_channels=8", "train.batch_size=8"]


def _prints(text):
    return f"{sys.executable} -c 'print(1); print({text!r})'".replace("'", '"')


def test_turns_alternate_and_are_compared_one_by_one(monkeypatch, capsys, tmp_path):
    ours, theirs, asked = iter([10.0, 30.0, 24.0]), iter([5.0, 10.0, 6.0]), []

    def result(command, name, keys):
        asked.append(name)
        if name == "sagan bench":
            assert command[3:6] == ["bench", "debug", "seed=3"]
            return {"config": "debug", "train": {"images_per_second": next(ours)}}
        return {"images_per_second": next(theirs), "params_g": 7}

    monkeypatch.setattr(beside, "_result", result)
    words = ["bench", "debug", "seed=3", "--beside", "other --fast", "--json"]
    assert cli.main([*words, "--out", str(tmp_path / "plot.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert asked == ["sagan bench", "other --fast"] * 3
    assert found["train"]["images_per_second"] == 24  # where scripts look for it
    (other,) = found["beside"]
    assert other["ours_over_theirs"] == 3  # of 2, 3 and 4, not of the medians
    assert other["ours_over_theirs_quartiles"] == [2.5, 3.5]
    assert other["last"]["params_g"] == 7
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_another_part_than_training_is_compared_where_it_is_one_rate(monkeypatch, capsys):
    def result(command, name, keys):
        if name != "sagan bench":
            return {"images_per_second": 2.0}
        assert command[command.index("--parts") + 1] == "features" and keys[0] == "features"
        return {"features": {"images_per_second": 3.0}}

    monkeypatch.setattr(beside, "_result", result)
    words = ["bench", "debug", "--beside", "other", "--json", "--parts"]
    assert cli.main([*words, "features"]) == 0
    assert json.loads(capsys.readouterr().out)["beside"][0]["ours_over_theirs"] == 1.5
    for parts in ("input", "train,features"):
        assert cli.main([*words, parts]) == 2
        assert "allowed with --beside: one of train, sampling, features" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("raise SystemExit(7)", "ended with 7"),
        ("print('fast')", "no JSON object with images_per_second"),
        ("print('{}')", "no JSON object with images_per_second"),
        ("pass", "no JSON object with images_per_second"),
    ],
)
def test_a_command_that_gives_no_figure(code, text):
    with pytest.raises(ConfigError, match=text):
        beside._result([sys.executable, "-c", code], "other", (beside.RATE,))
    with pytest.raises(ConfigError, match="other: No such file"):
        beside._result(["/nowhere/other"], "other", (beside.RATE,))


def test_the_last_line_is_the_figure():
    code = "print('warming up'); print('{\"images_per_second\": 2.5}')"
    assert beside._result([sys.executable, "-c", code], "x", (beside.RATE,)) == {beside.RATE: 2.5}


def test_both_forms_of_convolutions_agree_and_a_wrong_one_does_not(monkeypatch):
    """The CPU's forms against the accelerators', as `--against-cpu` compares them."""
    expected = agree.compute(TINY)
    assert {"forward map/attention_8", "step gradient/g"} <= set(expected)
    monkeypatch.setattr(conv, "_on_cpu", lambda: False)
    jax.clear_caches()
    rows = agree.compared(agree.compute(TINY), expected)
    assert all(row["agrees"] for row in rows), rows
    assert any(row["relative_difference"] > 0 for row in rows)
    general = conv._general
    monkeypatch.setattr(conv, "_general", lambda *a, **k: 1.002 * general(*a, **k))
    rows = agree.compared(agree.compute(TINY), expected)
    wrong = {row["quantity"] for row in rows if not row["agrees"]}
    assert {"forward image", "forward logits", "step gradient/g", "step gradient/d"} <= wrong


def test_a_difference_that_is_no_number_agrees_with_nothing():
    (row,) = agree.compared({"step x": np.array([np.nan])}, {"step x": np.array([1.0])})
    assert row["agrees"] is False


def test_scores_of_both_types_are_compared_over_seeds(monkeypatch, tmp_path, capsys):
    asked = []

    def end_of(command):
        words = dict(word.split("=") for word in command if "=" in word)
        folder = tmp_path / f"{words['model.dtype']}-{words['seed']}"
        assert command[3:5] == ["train", "debug"] and command[-1] == str(folder)
        asked.append((words["model.dtype"], words["seed"]))
        worse = 10 if words["model.dtype"] == "bfloat16" else 0
        scores = {"same": int(words["seed"]), "worse": int(words["seed"]) + worse}
        (folder / "eval").mkdir(parents=True)
        for step, found in (("900", {}), ("1000", scores)):
            (folder / "eval" / f"{step}.json").write_text(json.dumps({"metrics": found}))
        return 0

    monkeypatch.setattr(gate, "_end_of", end_of)
    words = ["bench", "debug", "--against-float32", str(tmp_path), "--json"]
    assert cli.main(words) == 1  # one of the metrics differs
    found = json.loads(capsys.readouterr().out)
    assert len(asked) == 6 and ("bfloat16", "2") in asked
    assert found["metrics"]["same"]["within_noise"] is True
    worse = found["metrics"]["worse"]
    # Three seeds each, unit variance: standard error sqrt(2/3), t = 12.2, four degrees of freedom.
    assert worse["difference"] == 10 and worse["within_noise"] is False
    assert worse["standard_error"] == pytest.approx((2 / 3) ** 0.5)
    assert worse["p"] == pytest.approx(0.000257, rel=0.01)
    monkeypatch.setattr(gate, "_end_of", lambda _: 42)
    assert cli.main(words) == 42  # stopped: the same command goes on


def test_scores_by_given_weights_come_from_a_command_of_their_own(monkeypatch, tmp_path, capsys):
    asked, wrong = [], 2

    def end_of(command):
        asked.append(command[3:])
        if command[3] == "reference":
            return wrong
        if command[3] == "eval":
            (Path(command[4]) / "eval").mkdir(parents=True)
            (Path(command[4]) / "eval" / "9.json").write_text('{"metrics": {"score": 1}}')
        return 0

    monkeypatch.setattr(gate, "_end_of", end_of)
    words = ["bench", "debug", "--against-float32", str(tmp_path), "--weights", "w.npz"]
    assert cli.main(words) == 2
    assert asked == [["reference", "debug", "--weights", "w.npz"]]  # nothing was trained with it
    asked, wrong = [], 0
    assert cli.main(words) == 0
    assert asked.pop(0)[0] == "reference"
    assert [command[0] for command in asked] == ["train", "eval"] * 6
    assert all("eval.at_end=false" in command for command in asked[::2])
    assert all(command[2:] == ["--weights", "w.npz"] for command in asked[1::2])
    assert cli.main(["bench", "debug", "--weights", "w.npz"]) == 2
    assert "--weights goes with --against-float32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("does", "status"), [("sys.exit(42)", 42), ("os.kill(os.getpid(), 9)", 137)]
)
def test_a_wish_to_stop_reaches_the_training(does, status, tmp_path):
    begun = tmp_path / "begun"
    program = (
        "import os, pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: {does})\n"
        f"pathlib.Path({str(begun)!r}).touch(); time.sleep(60)"
    )

    def ask():
        while not begun.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    assert gate._end_of([sys.executable, "-c", program]) == status
    thread.join()


def test_equal_scores_without_any_spread():
    assert gate.compared([1.0, 1.0, 1.0], [1.0, 1.0, 1.0])["within_noise"] is True
    assert gate.compared([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])["within_noise"] is False


def test_forms_of_attention_are_measured_and_drawn(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(attention, "SIZES", (8, 16))
    monkeypatch.setattr(attention, "BLOCK", 8)
    path = tmp_path / "attention.png"
    words = ["bench", "debug", "--attention", "--repeats", "1", "--json", "--out", str(path)]
    assert cli.main(words) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["form"], row["size"]) for row in rows][3:5] == [("local_2d", 8), ("full", 16)]
    assert all(row["seconds_median"] > 0 and row["temporary_bytes"] > 0 for row in rows)
    apart = [row.get("difference_from_full") for row in rows[:4]]
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


def test_tables_line_up():
    rows = [{"name": "a", "size": 1234.5}, {"name": "long", "size": 0.25, "more": True}]
    assert report.table(rows) == [
        "name  size   more",
        "a     1,234",
        "long  0.25   True",
    ]


def test_bars_have_room_beside_long_names(tmp_path):
    sizes = []
    for name in ("x", "python program.py " + "--option 1 " * 12):
        report.bars(tmp_path / "bars.png", {"sagan": 20.0, name: 10.0}, "images per second")
        picture = np.asarray(Image.open(tmp_path / "bars.png").convert("RGB")).astype(int)
        blue = picture[..., 2] - picture[..., 0] > 100
        sizes.append(blue.any(0).sum())  # the longest bar
    assert min(sizes) > 300
