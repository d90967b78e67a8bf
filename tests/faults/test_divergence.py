"""Rows 22 and 23: numbers that are not finite, and a collapse of training, in real processes."""

import json

import jax
import numpy as np
import pytest
from support import runs
from support.poisoned import BATCH, bad_steps

from sagan.evaluation import results
from sagan.runs import checkpoint

pytestmark = pytest.mark.faults

POISONED = [
    "model.name=support.poisoned", "model.num_classes=none", f"train.batch_size={BATCH}",
    "data.flip=false", "checkpoint.statistics_batches=0",
]  # fmt: skip
# So high a learning rate drives tanh to its limits by the biases alone, equally for all latents.
COLLAPSE = [
    "optim.g_learning_rate=0.5", "optim.ema_decay=0", "sample.every_steps=2",
    "checkpoint.every_steps=2", "checkpoint.keep=1", "guard.min_diversity=0.3",
    "checkpoint.statistics_batches=1",
]  # fmt: skip


def listed(workdir, name="diverged.json"):
    text = (workdir / name).read_text()
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def assert_finite(workdir):
    steps = checkpoint.steps(workdir)
    for step in steps:
        for item in ("state", "sampler"):
            for leaf in jax.tree.leaves(runs.leaves(workdir, step, item)):
                assert leaf.dtype.kind != "f" or np.all(np.isfinite(leaf))
    return steps


def test_row_22_nan_in_the_discriminator(environment, tmp_path):
    """22: nothing poisoned; skip that data, ≤ N times; exit 3, with the history."""
    bad = bad_steps(20)
    assert len(bad) == 4 and bad[2] > 10  # each epoch has five steps
    words = [*POISONED, "data.name=support.poisoned"]
    straight, workdir = tmp_path / "straight", tmp_path / "run"

    done = runs.finish(runs.command(straight, *words), environment)
    assert [entry["step"] for entry in listed(straight)] == bad
    assert all({"loss/d", "grad_norm/d"} <= set(e["not_finite"]) for e in listed(straight))
    assert all(f"step {step} " in done.stderr for step in bad)
    assert assert_finite(straight) == [5, 10, 15, 20]
    counts = [line["guard/skipped"] for line in runs.lines(straight)]
    assert counts == [sum(b <= step for b in bad) for step in range(1, 21)]

    done = runs.finish(runs.command(workdir, *words, "guard.skip_steps=2"), environment, status=3)
    assert "guard.skip_steps=2" in done.stderr
    assert "Traceback" not in done.stderr and str(workdir / "diverged.json") in done.stderr
    assert [entry["step"] for entry in listed(workdir)] == bad[:3]
    assert 10 in assert_finite(workdir)

    done = runs.finish(runs.command(workdir, *words), environment)
    assert f"resuming {workdir} from step 10" in done.stderr
    assert listed(workdir) == listed(straight)
    runs.assert_same(straight, workdir)


def test_row_22_nan_in_the_generator(environment, tmp_path):
    """22: samples that are not finite change neither network."""
    workdir = tmp_path / "run"
    runs.finish(runs.command(workdir, *POISONED, "model.g_channels=1"), environment)
    found = listed(workdir)
    assert 0 < len(found) < 20
    assert any("loss/g" in entry["not_finite"] for entry in found)
    assert assert_finite(workdir) == [5, 10, 15, 20]
    assert runs.lines(workdir)[-1]["guard/skipped"] == len(found)


def test_row_23_samples_collapse(environment, tmp_path):
    """23: diversity → 0: alert; best checkpoint retained, and the last one before it."""
    workdir = tmp_path / "run"
    words = ("eval.every_steps=2", "eval.num_images=64", *COLLAPSE)
    done = runs.finish(runs.small(workdir, *words), environment)
    entry = next(e for e in listed(workdir, "alarms.json") if "samples of a class" in e["alarm"])
    first = entry["step"]
    assert f"step {first}: " in done.stderr
    marked = {line["step"]: line for line in runs.lines(workdir)}
    assert marked[first]["guard/alarms"] == 0 and marked[first + 1]["guard/alarms"] >= 1
    assert marked[first]["guard/diversity"] >= 0.3 > marked[first + 1]["guard/diversity"]
    best = results.best_step(workdir, checkpoint.read_config(workdir))
    assert best < 20
    assert checkpoint.steps(workdir) == sorted({best, first - 2, 20})


def test_row_23_stops_if_asked(environment, tmp_path):
    """23: with guard.stop_on_collapse, the run is saved and ends with exit code 3."""
    workdir = tmp_path / "run"
    words = runs.small(workdir, *COLLAPSE, "guard.stop_on_collapse=true")
    done = runs.finish(words, environment, status=3)
    step = listed(workdir, "alarms.json")[-1]["step"]
    last = done.stderr.splitlines()[-1]
    assert all(fact in last for fact in ("guard.stop_on_collapse", str(step), str(step - 2)))
    assert "Traceback" not in done.stderr
    assert checkpoint.steps(workdir) == [step - 2, step] and step < 20


def test_row_23_the_discriminator_wins(environment, tmp_path):
    """23: the margin of the discriminator grows without bound; its lost loss: test_health."""
    workdir = tmp_path / "run"
    words = ("optim.d_learning_rate=0.3", "model.spectral_norm_d=false", "guard.max_margin=30")
    words = (*words, "optim.g_learning_rate=1e-9", "sample.every_steps=0")
    done = runs.finish(runs.small(workdir, *words), environment)
    said = " ".join(entry["alarm"] for entry in listed(workdir, "alarms.json"))
    assert "guard.max_margin=30" in said and "step" in done.stderr
    assert runs.lines(workdir)[-1]["guard/alarms"] >= 1
