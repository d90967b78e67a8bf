"""The whole loop through the command line: a run, its files, resuming, stopping."""

import functools
import json
import shutil
import signal
import subprocess
import time
import types
from pathlib import Path

import jax
import numpy as np
import pytest
from support.runs import OVERRIDES, assert_same, command, environment, lines

from sagan import cli
from sagan.evaluation import evaluate
from sagan.parallel import chips
from sagan.runs import checkpoint
from sagan.tasks.gan import sampler
from sagan.tasks.gan import step as train_step
from sagan.training import loop as train


@pytest.fixture(scope="module")
def tmp(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def straight(tmp) -> Path:
    """A run that nothing interrupted, in a process of its own."""
    workdir = tmp / "straight"
    done = subprocess.run(
        command(workdir), env=environment(tmp / "cache"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
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


def test_killed_and_resumed_is_the_straight_run_bit_for_bit(straight, tmp):
    workdir = tmp / "killed"
    process = subprocess.Popen(
        command(workdir), env=environment(tmp / "cache"), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 300
    while not [s for s in checkpoint.steps(workdir) if s >= 10]:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.wait()
    again = subprocess.run(
        command(workdir), env=environment(tmp / "cache"), capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
    assert f"resuming {workdir} from step" in again.stderr
    assert_same(straight, workdir)


def test_sigterm_saves_ends_in_42_and_resumes_the_same_run(straight, tmp):
    workdir = tmp / "stopped"
    process = subprocess.Popen(
        command(workdir), env=environment(tmp / "cache"), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    metrics = workdir / "metrics.jsonl"
    while not metrics.exists() or not metrics.read_text().count("\n") >= 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=120)
    if process.returncode == 0:
        pytest.fail("the run ended before the signal came")
    assert process.returncode == 42 and "stopped on request; saved step" in text
    stopped = checkpoint.steps(workdir)[-1]
    assert 2 <= stopped < 20
    again = subprocess.run(command(workdir), env=environment(tmp / "cache"), capture_output=True)
    assert again.returncode == 0
    assert_same(straight, workdir)


def test_more_steps_are_the_same_run(straight, tmp, capsys):
    workdir = tmp / "longer"
    for steps in (10, 20):
        done = subprocess.run(
            command(workdir, f"train.steps={steps}"),
            env=environment(tmp / "cache"),
            capture_output=True,
        )
        assert done.returncode == 0
    assert_same(straight, workdir)


def test_a_finished_run_does_nothing_more(straight, tmp):
    before = {p: p.stat().st_mtime_ns for p in (straight / "checkpoints").rglob("*")}
    done = subprocess.run(command(straight), env=environment(tmp / "cache"), capture_output=True)
    assert done.returncode == 0
    assert before == {p: p.stat().st_mtime_ns for p in (straight / "checkpoints").rglob("*")}


def test_another_config_in_the_work_directory_ends_in_4(straight, capsys):
    words = ["train", "debug", *OVERRIDES, "seed=5", "optim.beta1=0.5", "--workdir", str(straight)]
    assert cli.main(words) == 4
    text = capsys.readouterr().err
    assert "holds another run" in text and "seed: 0 -> 5" in text
    assert "optim.beta1: 0.0 -> 0.5" in text


def test_fewer_steps_than_were_made_end_in_4(straight, capsys):
    words = ["train", "debug", *OVERRIDES, "train.steps=10", "--workdir", str(straight)]
    before = (straight / "config.json").read_text()
    assert cli.main(words) == 4
    assert "is at step 20, beyond train.steps=10" in capsys.readouterr().err
    assert (straight / "config.json").read_text() == before


def test_what_cannot_be_scored_is_refused_before_training(tmp, capsys):
    workdir = tmp / "unscored"
    words = ["model.num_classes=none", "eval.at_end=true", "eval.metrics=class_accuracy"]
    words += ["eval.num_images=64", "--workdir", str(workdir)]
    assert cli.main(["train", "debug", *OVERRIDES, *words]) == 2
    assert "metric class_accuracy needs images with classes" in capsys.readouterr().err
    assert not (workdir / "checkpoints").exists() or not checkpoint.steps(workdir)
    assert not (workdir / "metrics.jsonl").exists()


def test_images_of_other_classes_are_another_run(straight):
    checkpoints = checkpoint.Checkpoints(straight, checkpoint.read_config(straight), set)
    checkpoints.require_classes(20, ("hue0", "hue1", "hue2", "hue3"))
    with pytest.raises(checkpoint.CheckpointError, match=r"hue3 \(4\); .* now of a, b \(2\)"):
        checkpoints.require_classes(20, ("a", "b"))
    checkpoints.close()


def test_from_a_step_between_dispatches_it_goes_on_by_single_steps(straight, tmp, monkeypatch):
    """Else no step would ever be due for a save again. Several a dispatch are for accelerators."""
    workdir = tmp / "between"
    shutil.copytree(straight, workdir)
    for step in (10, 15, 20):
        shutil.rmtree(workdir / "checkpoints" / str(step))
    accelerator = types.ModuleType("accelerator")
    accelerator.__getattr__ = functools.partial(getattr, jax)
    accelerator.default_backend = lambda: "gpu"
    monkeypatch.setattr(train, "jax", accelerator)
    words = ["train.steps_per_dispatch=2", "train.steps=8", "log.every_steps=2"]
    words += ["sample.every_steps=0", "checkpoint.every_steps=2", "--workdir", str(workdir)]
    assert cli.main(["train", "debug", *OVERRIDES, *words]) == 0
    assert checkpoint.steps(workdir) == [5, 6, 8]


def test_what_is_no_checkpoint_is_ignored(tmp_path):
    for name in ("9999", "12.orbax-checkpoint-tmp", "notes"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "checkpoints" / "7").write_text("")
    assert checkpoint.steps(tmp_path) == []
    with pytest.raises(checkpoint.CheckpointError, match="has no complete checkpoint"):
        checkpoint.pick(tmp_path, None)


def test_the_first_sheet_is_drawn_from_the_beginning_and_waits_for_no_statistics(tmp, monkeypatch):
    """By a generator that no step has moved, with statistics of one batch; later ones of all."""
    refreshed = []

    def refresh(config, ema, stats, *, batches=None, original=sampler.refresh):
        refreshed.append((batches, jax.device_get(ema)))
        return original(config, ema, stats, batches=batches)

    monkeypatch.setattr(sampler, "refresh", refresh)
    words = [
        "train",
        "debug",
        "model.name=support.dense_pair",
        "train.steps=2",
        "sample.every_steps=2",
    ]
    words += ["checkpoint.every_steps=2", "optim.ema_decay=0.0", "optim.ema_start_step=0"]
    assert cli.main([*words, "--workdir", str(tmp / "sheets")]) == 0
    assert {p.name for p in (tmp / "sheets" / "samples").iterdir()} == {"0.png", "2.png"}
    (first, beginning), (last, end) = refreshed
    assert first == 1 and last is None
    config = checkpoint.read_config(tmp / "sheets")
    drawn = jax.device_get(train_step.init(train_step.build(config, 1)).ema)
    assert jax.tree.all(jax.tree.map(np.allclose, beginning, drawn))
    assert not jax.tree.all(jax.tree.map(np.allclose, end, drawn))


def test_scores_while_training_and_keeps_the_best(tmp, capsys, monkeypatch):
    monkeypatch.setitem(chips.CHIPS, jax.devices()[0].device_kind, chips.Chip(1e12))
    workdir = tmp / "scored"
    words = [
        "train", "debug", "train.steps=8", "checkpoint.every_steps=2", "checkpoint.keep=1",
        "eval.every_steps=2", "eval.at_end=true", "eval.num_images=64", "sample.every_steps=0",
        "checkpoint.statistics_batches=1", "--workdir", str(workdir),
    ]  # fmt: skip
    scored, original = [], evaluate.run
    monkeypatch.setattr(
        evaluate, "run", lambda w, **kw: scored.append(kw["step"]) or original(w, **kw)
    )
    assert cli.main(words) == 0
    assert scored == [2, 4, 6, 8]
    results = {int(p.stem): json.loads(p.read_text()) for p in (workdir / "eval").glob("*.json")}
    assert sorted(results) == [2, 4, 6, 8]
    scores = {step: result["metrics"]["classifier_fid64"] for step, result in results.items()}
    best = min(scores, key=lambda step: scores[step])
    # When step 8 was saved, the best of the three before it was kept beside it.
    before = min((2, 4, 6), key=lambda step: scores[step])
    assert checkpoint.steps(workdir) == [before, 8]
    said = capsys.readouterr().err
    assert " images/s  " in said and "% of peak  d " in said  # live, with the scores between
    out = tmp / "best"
    assert (
        cli.main(["sample", str(workdir), "--step", "best", "--num", "1", "--out", str(out)]) == 0
    )
    from PIL import Image

    with Image.open(next(out.iterdir())) as picture:
        assert json.loads(picture.text["sagan"])["step"] == best

    assert cli.main(words) == 0  # the finished command again
    assert scored == [2, 4, 6, 8]
    (workdir / "eval" / "8.json").unlink()
    assert cli.main(words) == 0
    assert scored == [2, 4, 6, 8, 8]
