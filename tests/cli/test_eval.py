"""`sagan eval`, `reference` and `compare`: arguments, output and exit codes."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
from support.image_folders import pictures, write
from support.stand_ins import (
    CLASSES,
    DATA,
    HOW_MADE,
    SIZE,
    NoiseTask,
    filed,
    write_checkpoint,
)

from sagan import cli, tasks
from sagan.config import Config, EvalConfig, GanTrainConfig, ModelConfig, as_json
from sagan.evaluation.image_scorer import ImageScorer
from sagan.runs import checkpoint

COLOUR = ["--features", "support.colour_network"]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folders(tmp_path):
    return [write(tmp_path / name, pictures(seed, 40)) for seed, name in enumerate("ab")]


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    """A run whose checkpoints draw noise, since they are empty."""
    monkeypatch.setattr(tasks, "build", lambda config: NoiseTask())
    config = Config(
        data=DATA,
        model=ModelConfig(image_size=SIZE, num_classes=4),
        train=GanTrainConfig(steps=30),
        eval=EvalConfig(features="support.stand_ins", metrics=("fid",), num_images=64),
    )
    checkpoint.claim(tmp_path / "run", config)
    for step in (10, 20, 30):
        write_checkpoint(tmp_path / "run", step)
    return tmp_path / "run"


def test_images_are_scored_and_compared(folders, tmp_path, capsys):
    fake, real = folders
    words = ["eval", "--images", fake, "--reference", real, *COLOUR, "--metrics", "fid"]
    assert cli.main([*words, "--json"]) == 0
    shown = capsys.readouterr().out
    (tmp_path / "a.json").write_text(shown)
    assert json.loads(shown)["metrics"]["fid40"] > 0
    assert cli.main(words) == 0
    assert capsys.readouterr().out.split()[:2] == ["images", "fid40"]
    assert cli.main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 0
    assert "fid40" in capsys.readouterr().out
    assert cli.main([*words, "--num-images", "30", "--num-real", "20", "--json"]) == 0
    protocol = json.loads(capsys.readouterr().out)["protocol"]
    assert protocol["num_fake"] == 30 and protocol["num_real"] == 20


def test_a_reference_is_computed_saved_and_used(tmp_path, folders, capsys):
    out = str(tmp_path / "debug.npz")
    assert cli.main(["reference", "debug", *COLOUR, "--metrics", "fid,pr", "--out", out]) == 0
    text = capsys.readouterr().out
    assert "synthetic:train: 512 images of 8 px" in text and "pool.bank" in text
    words = ["eval", "--images", folders[0], "--reference", out, *COLOUR, "--image-size", "8"]
    assert cli.main([*words, "--metrics", "fid,pr", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert set(metrics) == {"fid40", "pr40_precision", "pr40_recall"}


@pytest.mark.parametrize(
    "words, fact",
    [
        (["eval"], "WORKDIR"),
        (["eval", "--images", "a"], "--reference"),
        (["eval", "w", "--images", "a", "--reference", "b"], "--images"),
        (["eval", "w", "train.steps=1"], "train.steps=1"),
        (["eval", "w", "--image-size", "8"], "--image-size"),
        (["eval", "--images", "a", "--reference", "b", "--watch"], "--watch"),
        (["eval", "--images", "a", "--reference", "b", "--seeds", "1"], "--seeds"),
    ],
)
def test_arguments_that_exclude_each_other_are_bad_input(words, fact, capsys):
    assert cli.main(words) == 2
    assert fact in capsys.readouterr().err


@pytest.mark.parametrize("seeds", ["0,4294967296", "", "-1"])
def test_seeds_out_of_range_are_bad_input(workdir, capsys, seeds):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["eval", str(workdir), f"--seeds={seeds}"])
    assert "2**32" in capsys.readouterr().err


@pytest.mark.parametrize("psi", ["0", "-3", "1.5", "nan"])
def test_truncation_is_checked_before_any_work(tmp_path, capsys, psi):
    assert cli.main(["eval", str(tmp_path / "absent"), f"--truncation={psi}"]) == 2
    said = capsys.readouterr().err
    assert "truncation" in said and str(float(psi)) in said


def test_a_run_is_scored_as_its_config_asks_or_otherwise(workdir, capsys):
    assert cli.main(["eval", str(workdir)]) == 0
    assert "fid64" in capsys.readouterr().out
    assert filed(workdir, 30)["own"]
    words = ["--step", "10", "--num-images", "100", "--seeds", "1,2", "--truncation", "0.5"]
    assert cli.main(["eval", str(workdir), *words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["step"] == 10 and not shown["own"]
    assert set(shown["metrics"]) == {"fid100", "fid100_seed_sd"}
    assert shown["protocol"]["truncation"] == 0.5 and shown["protocol"]["seed"] == [1, 2]
    assert cli.main(["eval", str(workdir), "--watch", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["step"] for row in rows] == [10, 20]


class FolderTask(NoiseTask):
    """Compares with the images that its config names."""

    def __init__(self, config):
        super().__init__()
        self._data = config.data

    def scorer(self, spec, num_classes=4):
        return ImageScorer(spec, self._data, SIZE, num_classes, HOW_MADE)


def test_a_run_whose_data_have_moved_is_scored_where_they_are(
    workdir, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tasks, "build", FolderTask)
    config = checkpoint.read_config(workdir)
    moved = dataclasses.replace(config.data, name="folder", dir=str(tmp_path / "gone"))
    text = as_json.to_json(dataclasses.replace(config, data=moved))
    (workdir / "config.json").write_text(text)
    for number, name in enumerate([*CLASSES, "other"]):
        write(tmp_path / "new" / name, pictures(number, 3))
    assert cli.main(["eval", str(workdir)]) == 2
    assert "gone" in capsys.readouterr().err
    words = ["eval", str(workdir), f"data.dir={tmp_path / 'new'}"]
    assert cli.main(words) == 2  # these are other images than the run's
    assert "other" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "new" / "other")
    assert cli.main(words) == 0
    assert filed(workdir, 30)["protocol"]["num_real"] == 12
    assert (workdir / "config.json").read_text() == text
    assert cli.main([*words, "data.split=test"]) == 2


def test_the_table_ends_with_real_held_out_images(workdir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tasks, "build", FolderTask)
    config = checkpoint.read_config(workdir)
    for number, split in enumerate(["train", "val"]):
        for name in CLASSES:
            write(tmp_path / "set" / split / name, pictures(number, 10))
    data = dataclasses.replace(config.data, name="folder", dir=str(tmp_path / "set"))
    (workdir / "config.json").write_text(as_json.to_json(dataclasses.replace(config, data=data)))
    assert cli.main(["eval", str(workdir), "--step", "all"]) == 0
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in table[:5]] == ["step", "10", "20", "30", "real"]
    assert table[4][1] == "val" and float(table[4][2]) > 0
    assert "40" in table[5]
    assert "real val" not in str(filed(workdir, 30))
    (tmp_path / "set" / "val" / CLASSES[0] / "0000.png").write_bytes(b"no image")
    assert cli.main(["eval", str(workdir)]) == 0
    said = capsys.readouterr()
    assert "fid64" in said.out and "real val" not in said.out and "0000.png" in said.err


def test_no_checkpoint_has_its_own_exit_code(workdir, tmp_path):
    assert cli.main(["eval", str(workdir), "--step", "15"]) == 4
    assert cli.main(["eval", str(tmp_path / "absent")]) == 4
    assert cli.main(["eval", str(workdir), "--step", "newest"]) == 2


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_scores_that_cannot_be_stored_are_shown_with_status_1(workdir, capsys, words):
    (workdir / "eval").write_text("in the way")
    assert cli.main(["eval", str(workdir), *words]) == 1
    said = capsys.readouterr()
    assert "fid64" in said.out
    assert not words or json.loads(said.out)["step"] == 30
    last = said.err.strip().splitlines()[-1]
    assert last.startswith("sagan: ") and str(workdir) in last
    assert "Traceback" not in said.err


def test_help_does_not_import_jax():
    program = (
        "import argparse, sys; from sagan.cli import compare, eval, reference\n"
        "verbs = argparse.ArgumentParser().add_subparsers()\n"
        "for verb in (compare, eval, reference): verb.register(verbs)\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
