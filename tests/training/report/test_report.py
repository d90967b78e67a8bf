"""What a page holds: read back from the block of data in it."""

import json
import os
import re
import shlex

import numpy as np
import pytest
from support.shown_run import HOSTILE, hostile_run, write_run

from sagan import cli
from sagan.config import make, presets
from sagan.files import images
from sagan.runs import checkpoint, lock
from sagan.training import report
from sagan.training.report import pictures


def held(path):
    """Returns the data in a page."""
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script id="data"[^>]*>(.*?)</script>', text, re.S)[1])


def only(workdir, **how):
    """Writes the page of one run; returns the run's data."""
    (run,) = held(report.write([workdir], **how))["runs"]
    return run


@pytest.fixture
def workdir(tmp_path):
    return write_run(tmp_path / "run", scores={"fid64": 9.5}, seed=3)


def test_a_page_says_what_a_run_is_and_how_it_stands(workdir):
    run = only(workdir)
    assert (run["name"], run["task"], run["seed"]) == ("run", "support.shown_run", 3)
    assert (run["state"], run["step"], run["steps"]) == ("finished", 20, 20)
    assert run["best"]["scores"] == [["fid64", "9.5"]]
    assert all(fact in run["best"]["protocol"] for fact in ("cheap", "64", "32", "discs:train"))
    assert run["images_per_step"] == 16
    assert dict(run["time"])["steps"] == 40
    assert {"jax", "commit", "devices"} <= {name for name, _ in run["facts"]}
    assert (workdir / "report.html").is_file()


def test_the_command_that_resumes_gives_the_same_config(tmp_path):
    config = presets.load(
        "digits", ["seed=2", "train.penalties=r1=1", "model.attention=none", "name=mine o'mine"]
    )
    workdir = tmp_path / "a b"
    checkpoint.claim(workdir, config)
    command = dict(only(workdir)["commands"])["resume"]
    words = shlex.split(command)
    assert words[:3] == ["sagan", "train", "digits"] and words[-2:] == ["--workdir", str(workdir)]
    assert presets.load("digits", words[3:-2]) == config


@pytest.mark.parametrize(
    ("step", "journal", "alarms", "state"),
    [
        (20, None, 0, "finished"),
        (10, None, 0, "stopped"),
        (10, "diverged.json", 0, "diverged"),
        (10, "alarms.json", 2, "collapsed"),
        (10, "alarms.json", 0, "stopped"),  # the alarms have ended
    ],
)
def test_states(tmp_path, step, journal, alarms, state):
    workdir = write_run(
        tmp_path / "run", lines=step, checkpoints=(step,), extra={"guard/alarms": alarms}
    )
    if journal:
        (workdir / journal).write_text(json.dumps([{"step": 5, "alarm": "it fell"}] * 21))
    assert only(workdir)["state"] == state


def test_a_run_that_is_training(tmp_path):
    workdir = write_run(tmp_path / "run", lines=10, checkpoints=())
    with lock.Lock(workdir, "run", 60):
        page = held(report.write([workdir], refresh=7))
    assert page["runs"][0]["state"] == "running" and page["refresh"] == 7
    assert "no complete checkpoint" in page["runs"][0]["exhibits_note"]
    assert held(report.write([workdir], refresh=7))["refresh"] == 0


def test_weights_without_a_training_have_a_picture(tmp_path):
    workdir = write_run(tmp_path / "run", lines=0, sheets=(), checkpoints=(10,))
    (workdir / "metrics.jsonl").unlink()
    run = only(workdir)
    assert run["state"] == "imported" and run["curves"] == {}
    assert [sheet["step"] for sheet in run["sheets"]] == [10]


def test_a_run_that_ended_before_its_first_line_was_not_imported(tmp_path):
    workdir = write_run(tmp_path / "run", lines=0, sheets=(), checkpoints=(10,))
    assert only(workdir)["state"] == "stopped"


@pytest.mark.parametrize("text", ["5", "null", '{"step": 1}', '[{"step": "x"}, 5]', "[", '"step"'])
def test_journals_and_scalars_that_are_none_are_passed_over(tmp_path, text):
    workdir = write_run(tmp_path / "run", lines=10, checkpoints=())
    for name in ("alarms.json", "diverged.json", "versions.json"):
        (workdir / name).write_text(text)
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "time/step_seconds": NaN, "loss/d": "x"}\n')
    run = only(workdir)
    assert run["marks"] == [] and run["step"] == 11 and dict(run["time"])["steps"] == 0


def test_the_newest_of_many_alarms_are_shown(tmp_path):
    workdir = write_run(tmp_path / "run")
    alarms = [{"step": n, "alarm": f"number {n}"} for n in range(2000)]
    (workdir / "alarms.json").write_text(json.dumps(alarms))
    marks = only(workdir)["marks"]
    assert len(marks) < 2000 and marks[-1]["step"] == 1999


def test_many_lines_are_thinned_and_no_peak_is_lost(tmp_path):
    workdir = write_run(tmp_path / "run", lines=3000, steps=3000, checkpoints=())
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    lines[1234] = json.dumps({"step": 1235, "loss/d": 77.0})
    lines[5] = json.dumps({"step": 6, "loss/d": None})
    lines[-1] = lines[-1][:9]  # of a run that was killed
    (workdir / "metrics.jsonl").write_text("\n".join(lines))
    run = only(workdir)
    curve = run["curves"]["loss/d"]
    assert len(run["at"]) == len(curve["mean"]) == 400 and run["lines"] == 2999
    assert max(v for v in curve["high"] if v is not None) == 77
    place = int(np.argmax(curve["high"]))
    assert abs(run["at"][place] - 1235) < 8 and curve["mean"][place] < 77
    assert only(write_run(tmp_path / "few"))["curves"]["loss/d"]["mean"][1] == 0.5


def test_marks(tmp_path):
    workdir = write_run(tmp_path / "run")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line["time/restart_seconds"] = 0.0 if line["step"] < 12 else 4.5
    (workdir / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (workdir / "alarms.json").write_text('[{"step": 15, "alarm": "it fell"}]')
    (workdir / "diverged.json").write_text('[{"step": 3, "not_finite": ["loss/d"]}]')
    marks = [(mark["step"], mark["kind"]) for mark in only(workdir)["marks"]]
    assert marks == [(3, "skipped"), (12, "resumed"), (15, "alarm")]


def test_seeds_have_a_mean_and_other_protocols_stay_apart(tmp_path):
    one = write_run(tmp_path / "one", scores={"fid64": 9.0}, seed=1)
    two = write_run(tmp_path / "two", scores={"fid64": 11.0}, seed=2)
    odd = write_run(tmp_path / "odd", scores={"fid64": 5.0}, protocol={"resizer": "clean"}, seed=3)
    other = write_run(tmp_path / "other", scores={"fid64": 7.0}, guard={}, model={"image_size": 64})
    page = tmp_path / "page.html"
    runs = held(report.write([one, two], page))["runs"]
    assert [run["experiment"] for run in runs] == [0, 0]
    assert runs[0]["means"] == [["fid64", "10 ± 1.414", 20]]
    runs = held(report.write([one, odd, other], page))["runs"]
    assert [run["experiment"] for run in runs] == [0, 0, 2]
    assert runs[1]["apart"]["fid64"] == "resizer: 'tf' / 'clean'" and not runs[2]["apart"]
    assert runs[0]["means"] == []
    again = write_run(tmp_path / "again", scores={"fid64": 9.0}, seed=1)
    runs = held(report.write([one, two, again], page))["runs"]
    assert len({run["experiment"] for run in runs}) == 3  # a seed twice is no spread over seeds
    assert not any(run["means"] for run in runs)


def test_sheets_are_thinned_to_a_size_or_all_linked(tmp_path, monkeypatch):
    workdir = write_run(tmp_path / "run", sheets=range(0, 21))
    (workdir / "samples" / "7.png").write_bytes(b"being written")
    every = only(workdir)
    assert [sheet["step"] for sheet in every["sheets"]] == [n for n in range(21) if n != 7]
    size = len(every["sheets"][-1]["src"])
    monkeypatch.setattr(pictures, "_SHEETS_BYTES", 5 * size)
    few = [sheet["step"] for sheet in only(workdir)["sheets"]]
    assert 3 <= len(few) <= 6 and {few[0], few[-1]} == {0, 20}
    noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)
    images.save(workdir / "samples" / "0.png", noise, {})  # much larger than the last one
    sheets = only(workdir)["sheets"]
    assert sheets[-1]["step"] == 20 and sum(len(sheet["src"]) for sheet in sheets) <= 5 * size
    linked = only(workdir, out=tmp_path / "pages" / "page.html", link=True)
    assert linked["sheets"][3] == {"step": 3, "src": "../run/samples/3.png"}
    assert linked["sheets_in_all"] == 21


def test_large_maps_are_averaged():
    from sagan.tasks.exhibits import Exhibit, Look

    maps = np.zeros((64 * 64, 32, 32), np.float32)
    maps[:, 31, 31] = 1
    image = np.zeros((64, 64, 3), np.uint8)
    packed = pictures.packed(Exhibit("", image, [Look("attention_64", maps)]), 1)
    (look,) = packed["looks"]
    assert look["side"] == 16 and len(look["maps"]) < 1.4 * 16**4


def test_hostile_names_are_text(tmp_path):
    path = report.write([hostile_run(tmp_path)])
    text = path.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script>") == 2
    assert "<!--" not in text.replace("<!doctype", "")
    assert HOSTILE in held(path)["runs"][0]["curves"]


def test_a_folder_whose_name_is_no_text_has_a_page(tmp_path):
    workdir = write_run(tmp_path / os.fsdecode(b"run\xff"))
    assert only(workdir)["name"] == workdir.name


def test_the_policy_allows_this_style_and_script_alone(workdir):
    text = report.write([workdir]).read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert policy.startswith("default-src 'none'; ") and "unsafe" not in policy
    assert "http" not in policy and re.search(r"img-src data:;", policy)


def test_watching_ends_with_the_run(workdir, monkeypatch, capsys):
    states = iter([True, True, True, False, False])
    monkeypatch.setattr("sagan.training.report.facts.is_running", lambda *_: next(states))
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    assert held(report.watch([workdir], seconds=9))["refresh"] == 0
    assert slept == [9]
    assert "9 s" in capsys.readouterr().err


def test_the_command(workdir, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert cli.main(["report", str(workdir), "--out", str(page)]) == 0
    assert capsys.readouterr().out.strip() == str(page) and page.is_file()
    assert cli.main(["report", str(tmp_path / "nothing")]) == 4
    assert cli.main(["report", str(workdir), str(workdir)]) == 2
    assert cli.main(["report", str(workdir), "--out", "/dev/null/page.html"]) == 2


def test_a_config_of_no_preset_is_shown_all_the_same(tmp_path):
    config = make(name="own", data={"name": "synthetic"}, model={"image_size": 8})
    checkpoint.claim(tmp_path / "own", config)
    run = only(tmp_path / "own")
    assert run["preset"] and run["state"] == "stopped" and run["best"] is None
