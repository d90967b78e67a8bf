"""Predictions: what is counted in a traced training step, and the printed table."""

import json
import math
from pathlib import Path

import jax
import pytest

from sagan import cli, tasks
from sagan.bench import traced
from sagan.config import presets
from sagan.launch import cost
from sagan.parallel import flops
from sagan.parallel.platform import Platform
from sagan.training import state

GPU = Platform("gpu", "NVIDIA H200", "9.0")
SMALL = ["data.name=synthetic", "model.num_classes=4"]
DENSE = [*SMALL, "model.name=support.dense_pair"]  # small networks are traced faster


def _trace(name, *overrides):
    return traced.trace(presets.load(name, list(overrides)), jax.local_devices()[:1], GPU)


def _parameters(config):
    task = tasks.build(config, 1)
    found = jax.eval_shape(lambda: state.init(task, config.seed)).task
    return [sum(math.prod(x.shape) for x in jax.tree.leaves(p.params)) for p in (found.g, found.d)]


def test_the_arithmetic_of_imagenet128_is_what_one_gpu_computed():
    """25.9 TFLOP of matrix products a step were counted on an H200 (docs/benchmarks.md)."""
    step = _trace("imagenet128", "model.dtype=bfloat16")
    assert flops.matmuls(step.traced.jaxpr) == pytest.approx(25.9e12, rel=0.01)
    assert step.num_images == 256


def test_the_messages_are_the_gradients_and_few_others():
    one, two = (_trace("debug", *SMALL, f"train.d_steps_per_g_step={k}") for k in (1, 2))
    g, d = _parameters(one.config)
    for k, step in ((1, one), (2, two)):
        gradients = 4 * (g + k * d)
        assert gradients < sum(flops.messages(step.traced.jaxpr)) < 1.1 * gradients


@pytest.mark.parametrize("name", ["digits_transformer", "captions", "cifar10_r3gan"])
def test_presets_of_every_task_are_predicted(name):
    (row,) = traced.predictions(presets.load(name), [cost.h100(8)])
    assert row["step ms"] > 0 and row["chips"] == 8


def test_a_larger_batch_is_more_efficient():
    def predicted(size):
        # In narrow networks nearly all time is communication, and both efficiencies round to 0 %.
        wide = ["model.g_channels=4096", "model.d_channels=4096"]
        config = presets.load("debug", [*DENSE, *wide, f"train.batch_size={size}"])
        return traced.predictions(config, [cost.h100(8)])

    rows = [predicted(8), predicted(512)]
    small, large = (float(row["efficiency"].rstrip("%")) for (row,) in rows)
    assert small < large


def test_the_table_in_the_docs_is_what_the_command_prints(capsys):
    assert cli.main(["bench", "--pods", "imagenet128", "model.dtype=bfloat16"]) == 0
    printed = [line.strip() for line in capsys.readouterr().out.splitlines()]
    docs = (Path(__file__).parents[2] / "docs" / "launching.md").read_text()
    table = [line for line in printed if line.startswith(("machine", "v4:", "v5", "v6", "h100"))]
    assert len(table) == 1 + len(cost.SHOWN)
    for line in table:
        assert line in docs


def test_as_json_the_table_has_a_row_for_each_machine(capsys):
    assert cli.main(["bench", "--pods", "debug", *DENSE, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["machine"] for row in found["rows"]] == list(cost.SHOWN)
