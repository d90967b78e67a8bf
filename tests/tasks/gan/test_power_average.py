"""Averages with power-function profiles: published values, and widths that are made later."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan import cli
from sagan.config import ConfigError
from sagan.runs import lasting
from sagan.runs.checkpoint import CheckpointError
from sagan.tasks.gan import power_average
from sagan.tasks.gan.power_average import combination, exponent, overlap, rate


@pytest.mark.parametrize(
    ("width", "power"), [(0.05, 16.9722), (0.1, 6.9372), (0.15, 3.5579), (0.2, 1.8262)]
)
def test_exponents_are_the_published_ones_and_have_the_width(width, power):
    assert exponent(width) == pytest.approx(power, abs=1e-4)
    t = np.linspace(0, 1, 200_001)
    profile = (power + 1) * t**power
    mean = np.trapezoid(profile * t, t)
    assert np.sqrt(np.trapezoid(profile * (t - mean) ** 2, t)) == pytest.approx(width, rel=1e-4)


def test_the_rate_is_the_published_one_and_exact_after_a_million_steps():
    assert 1 - float(rate(0.1, jnp.int32(99))) == pytest.approx(0.92332724, abs=1e-6)
    assert float(rate(0.1, jnp.int32(0))) == 1  # the first weights are forgotten
    t = 3_000_001
    expected = 1 - (1 - 1 / np.float64(t)) ** (exponent(0.05) + 1)
    assert float(rate(0.05, jnp.int32(t - 1))) == pytest.approx(expected, rel=1e-5)


def test_overlaps_are_integrals():
    one, other = (80.0, exponent(0.1)), (100.0, exponent(0.05))
    t = np.linspace(0, 100, 400_001)
    profiles = [np.where(t <= end, (g + 1) * t**g / end ** (g + 1), 0) for end, g in (one, other)]
    expected = np.trapezoid(profiles[0] * profiles[1], t)
    assert overlap(one, other) == pytest.approx(expected, rel=1e-4) == overlap(other, one)


def averages(workdir, widths=(0.05, 0.1), every=20, last=400):
    """Follows a parameter that wanders, and keeps its averages; returns its values."""
    values = np.cumsum(np.random.default_rng(0).normal(size=(last, 3)), 0).astype(np.float32)
    kept = {f"{width:g}": {"a": jnp.zeros(3)} for width in widths}
    update = jax.jit(power_average.updated)
    for step in range(last):
        kept = update(kept, {"a": values[step]}, np.int32(step))
        if (step + 1) % every == 0:
            lasting.write(workdir, step + 1, power_average.flat(kept))
    return values


def test_other_widths_are_made_from_saved_ones(tmp_path):
    values = averages(tmp_path)
    assert lasting.steps(tmp_path) == list(range(20, 401, 20))
    for width in (0.05, 0.07, 0.1, 0.15, 0.2):
        for step in (200, 400):
            expected = np.zeros(3)
            for t in range(step):
                kept = (1 - 1 / (t + 1)) ** (exponent(width) + 1)
                expected = kept * expected + (1 - kept) * values[t]
            found = np.asarray(power_average.rebuilt(tmp_path, step, width)["a"])
            spread = values[:step].std()
            np.testing.assert_allclose(found, expected, atol=0.03 * spread)


def test_what_cannot_be_made_is_refused(tmp_path):
    averages(tmp_path, every=200)
    for step, width in ((400, 0.005), (390, 0.05), (100, 0.1), (400, 0.3), (400, 0.0)):
        with pytest.raises(ConfigError):
            power_average.rebuilt(tmp_path, step, width)
    (tmp_path / lasting.FOLDER / "200.safetensors").write_bytes(b"x")
    with pytest.raises(CheckpointError):
        power_average.rebuilt(tmp_path, 400, 0.1)
    weights, error = combination([(100.0, 5.0)], (100.0, 5.0))
    assert weights == pytest.approx([1]) and error < 1e-6


def test_a_run_is_sampled_and_scored_with_another_width(tmp_path, capsys):
    workdir = tmp_path / "run"
    words = ["train", "debug", "model.name=support.dense_pair", "train.steps=8",
             "checkpoint.every_steps=2", "sample.every_steps=0", "checkpoint.statistics_batches=1",
             "optim.ema_widths=0.1,0.2", "--workdir", str(workdir)]  # fmt: skip
    assert cli.main(words) == 0
    assert lasting.steps(workdir) == [2, 4, 6, 8]
    drawn = {}
    for sigma in ("", "0.1", "0.2"):
        out = tmp_path / f"drawn{sigma}.npz"
        more = ["--ema-sigma", sigma] if sigma else []
        assert (
            cli.main(["sample", str(workdir), "--num", "8", "--npz", "--out", str(out), *more]) == 0
        )
        drawn[sigma] = np.load(out)["arr_0"].astype(int)
    assert np.abs(drawn["0.1"] - drawn["0.2"]).max() > 0
    assert np.abs(drawn["0.1"] - drawn[""]).max() > 0
    capsys.readouterr()
    score = ["eval", str(workdir), "--num-images", "32", "--json", "--ema-sigma", "0.1"]
    assert cli.main(score) == 0
    result = json.loads(capsys.readouterr().out)
    assert "0.1" in result["protocol"]["ema"] and not result["own"]
    assert cli.main(["sample", str(workdir), "--out", str(tmp_path / "x"), "--ema-sigma", "1"]) == 2
