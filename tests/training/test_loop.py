"""The whole loop through the command line: a run, its files, resuming, stopping."""

import functools
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from support import processes, runs
from support.runs import OVERRIDES, SMALL, assert_same, lines

from sagan import cli, tasks
from sagan.config import presets
from sagan.parallel.platform import Platform
from sagan.runs import checkpoint
from sagan.training import loop as train
from sagan.training import state


def with_pictures(workdir, *words):
    return runs.small(workdir, "sample.every_steps=10", *words)


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def environment(tmp) -> dict[str, str]:
    return runs.environment(tmp / "cache")


@pytest.fixture(scope="module")
def straight(tmp, environment) -> Path:
    """A run that nothing interrupted, in a process of its own."""
    workdir = tmp / "straight"
    done = runs.finish(with_pictures(workdir), environment)
    assert f"samples: {workdir}/samples/20.png" in done.stdout
    return workdir


def test_the_work_directory_holds_what_it_should(straight):
    assert {"config.json", "versions.json", "metrics.jsonl", "checkpoints", "samples"} <= {
        path.name for path in straight.iterdir()
    }
    assert checkpoint.steps(straight) == [5, 10, 15, 20]
    assert [line["step"] for line in lines(straight)] == list(range(1, 21))
    assert all(np.isfinite(v) for line in lines(straight) for v in line.values())
    assert json.loads((straight / "versions.json").read_text())["jax"] == jax.__version__
    assert checkpoint.read_config(straight).model.num_classes == 4
    assert {p.name for p in (straight / "samples").iterdir()} == {"0.png", "10.png", "20.png"}


def test_tensorboard_reads_the_scalars(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(straight / "events")).Reload()
    found = [(e.step, e.value) for e in events.Scalars("loss/d")]
    assert found == [(line["step"], pytest.approx(line["loss/d"])) for line in lines(straight)]


def test_killed_and_resumed_is_the_straight_run_bit_for_bit(straight, tmp, environment):
    workdir = tmp / "killed"
    process = processes.Process(with_pictures(workdir), environment)
    runs.wait_until(lambda: checkpoint.steps(workdir)[-1:] >= [10], process)
    process.kill()
    process.wait()
    again = runs.finish(with_pictures(workdir), environment)
    assert str(workdir) in again.stderr.splitlines()[0]
    assert_same(straight, workdir)


def test_more_steps_are_the_same_run(straight, tmp, environment):
    workdir = tmp / "longer"
    for steps in (10, 20):
        runs.finish(with_pictures(workdir, f"train.steps={steps}"), environment)
    assert_same(straight, workdir)


def test_a_finished_run_does_nothing_more(straight, environment):
    before = {p: p.stat().st_mtime_ns for p in (straight / "checkpoints").rglob("*")}
    runs.finish(with_pictures(straight), environment)
    assert before == {p: p.stat().st_mtime_ns for p in (straight / "checkpoints").rglob("*")}


def test_another_config_in_the_work_directory_ends_in_4(straight, capsys):
    words = ["train", "debug", *OVERRIDES, *SMALL, "seed=5", "optim.beta1=0.5"]
    assert cli.main([*words, "--workdir", str(straight)]) == 4
    text = capsys.readouterr().err
    assert "seed: 0 -> 5" in text and "optim.beta1: 0.0 -> 0.5" in text


def test_fewer_steps_than_were_made_end_in_4(straight, capsys):
    words = ["train", "debug", *OVERRIDES, *SMALL, "train.steps=10", "--workdir", str(straight)]
    before = (straight / "config.json").read_text()
    assert cli.main(words) == 4
    text = capsys.readouterr().err
    assert "20" in text and "train.steps=10" in text
    assert (straight / "config.json").read_text() == before


def test_what_cannot_be_scored_is_refused_before_training(tmp, capsys):
    workdir = tmp / "unscored"
    words = ["model.num_classes=none", "eval.at_end=true", "eval.metrics=class_accuracy"]
    words += ["eval.num_images=64", "--workdir", str(workdir)]
    assert cli.main(["train", "debug", *OVERRIDES, *words]) == 2
    assert "class_accuracy" in capsys.readouterr().err
    assert not (workdir / "checkpoints").exists() or not checkpoint.steps(workdir)
    assert not (workdir / "metrics.jsonl").exists()


def test_images_of_other_classes_are_another_run(straight):
    config = checkpoint.read_config(straight)
    checkpoints = checkpoint.Checkpoints(straight, config.checkpoint)
    checkpoints.require_classes(20, ("hue0", "hue1", "hue2", "hue3"))
    with pytest.raises(checkpoint.CheckpointError) as error:
        checkpoints.require_classes(20, ("a", "b"))
    assert "hue3 (4)" in str(error.value) and "a, b (2)" in str(error.value)
    checkpoints.close()


def test_several_steps_a_dispatch_are_the_same_run_from_any_step(straight, tmp):
    """Accelerators run several; from a step between two dispatches, single ones come first."""
    workdir = tmp / "between"
    shutil.copytree(straight, workdir)
    for step in (10, 15, 20):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    words = ["train.steps_per_dispatch=3", "train.steps=12", "log.every_steps=4"]
    words += ["sample.every_steps=0", "checkpoint.every_steps=4", "checkpoint.keep=10"]
    config = presets.load("debug", [*OVERRIDES, *SMALL, *words])
    train.run(config, workdir, hardware=Platform("gpu", "", ""))
    assert checkpoint.steps(workdir) == [5, 8, 12]
    expected = {line["step"]: line for line in lines(straight)}
    found = {line["step"]: line for line in lines(workdir) if line["step"] > 5}
    assert sorted(found) == [8, 12]
    for step, line in found.items():
        for name in ("loss/d", "loss/g", "grad_norm/g"):
            assert line[name] == pytest.approx(expected[step][name], rel=1e-2)


def test_what_is_no_checkpoint_is_ignored(tmp_path):
    for name in ("9999", "12.orbax-checkpoint-tmp", "notes"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "checkpoints" / "7").write_text("")
    assert checkpoint.steps(tmp_path) == []
    with pytest.raises(checkpoint.CheckpointError):
        checkpoint.pick(tmp_path, None)


def test_the_first_preview_shows_the_beginning_and_later_ones_what_was_saved(tmp):
    """Step 0 waits for no statistics: they are those of one batch. Later ones are those of all."""
    workdir = tmp / "sheets"
    words = ["train", "debug", "model.name=support.dense_pair", "train.steps=2"]
    words += ["sample.every_steps=2", "checkpoint.every_steps=2", "optim.ema_decay=0.0"]
    assert cli.main([*words, "optim.ema_start_step=0", "--workdir", str(workdir)]) == 0
    assert {p.name for p in (workdir / "samples").iterdir()} == {"0.png", "2.png"}
    config = checkpoint.read_config(workdir)
    task = tasks.build(config)
    start = jax.jit(functools.partial(state.init, task, config.seed))().task
    expected = {
        0: task.inference(task.snapshot(start), quick=True),
        2: task.load_sampler(workdir, 2).variables,
    }
    for step, variables in expected.items():
        with Image.open(workdir / "samples" / f"{step}.png") as picture:
            found = np.asarray(picture, int)
        drawn = np.asarray(task.preview(variables, step).picture, int)
        assert np.abs(found - drawn).max() <= 1  # to rounding
    different = task.preview(task.inference(task.snapshot(start)), 0).picture
    assert np.abs(np.asarray(different, int) - found).max() > 1


def test_scores_while_training_and_keeps_the_best(tmp):
    workdir = tmp / "scored"
    words = [
        "train", "debug", "model.name=support.dense_pair", "train.steps=8", "checkpoint.keep=1",
        "checkpoint.every_steps=2", "eval.every_steps=2", "eval.at_end=true", "eval.num_images=64",
        "sample.every_steps=0", "checkpoint.statistics_batches=1", "--workdir", str(workdir),
    ]  # fmt: skip
    assert cli.main(words) == 0
    results = {int(p.stem): json.loads(p.read_text()) for p in (workdir / "eval").glob("*.json")}
    assert sorted(results) == [2, 4, 6, 8]
    scores = {step: result["metrics"]["classifier_fid64"] for step, result in results.items()}
    best = min(scores, key=lambda step: scores[step])
    # When step 8 was saved, the best of the three before it was kept beside it.
    before = min((2, 4, 6), key=lambda step: scores[step])
    assert checkpoint.steps(workdir) == [before, 8]
    out = tmp / "best"
    sample = ["sample", str(workdir), "--step", "best", "--num", "1", "--out", str(out)]
    assert cli.main(sample) == 0
    with Image.open(next(out.glob("*.png"))) as picture:
        assert json.loads(picture.text["sagan"])["step"] == best

    written = {p: p.stat().st_mtime_ns for p in (workdir / "eval").glob("*.json")}
    assert cli.main(words) == 0  # the finished command again scores nothing
    assert written == {p: p.stat().st_mtime_ns for p in written}
    (workdir / "eval" / "8.json").unlink()
    assert cli.main(words) == 0  # but makes up for a score that is missing
    again = json.loads((workdir / "eval" / "8.json").read_text())
    assert again["metrics"] == pytest.approx(results[8]["metrics"])


def test_scores_are_due_at_steps_of_their_own(tmp):
    """No cadence has to divide another: what is scored is saved."""
    workdir = tmp / "odd"
    words = [
        "train", "debug", "model.name=support.dense_pair", "train.steps=5", "checkpoint.keep=9",
        "checkpoint.every_steps=4", "eval.every_steps=3", "eval.num_images=64",
        "sample.every_steps=0", "checkpoint.statistics_batches=1", "--workdir", str(workdir),
    ]  # fmt: skip
    assert cli.main(words) == 0
    assert checkpoint.steps(workdir) == [3, 4, 5]
    assert [p.name for p in (workdir / "eval").glob("[0-9]*.json")] == ["3.json"]


@pytest.mark.parametrize("hardware", [None, Platform("gpu", "", "")], ids=["cpu", "accelerator"])
def test_a_run_may_be_shorter_than_a_dispatch(tmp_path, hardware):
    words = ["model.name=support.dense_pair", "train.steps=2", "train.steps_per_dispatch=10"]
    words += ["log.every_steps=3", "sample.every_steps=0", "checkpoint.every_steps=7"]
    config = presets.load("debug", [*words, "checkpoint.statistics_batches=1"])
    train.run(config, tmp_path, hardware=hardware)
    assert checkpoint.steps(tmp_path) == [2]
    assert [line["step"] for line in lines(tmp_path)] == [2]
