"""A run may start from the weights of another one."""

import json

import jax
import numpy as np
import pytest
from support.runs import SMALL

from sagan import cli
from sagan.parallel.devices import Devices
from sagan.runs import checkpoint


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("first") / "run"
    assert cli.main(words("--workdir", str(path), "train.steps=2")) == 0
    return path


def words(*more):
    same = ["checkpoint.every_steps=1", "sample.every_steps=0", "optim.ema_decay=0.5"]
    return ["train", "debug", *same, *SMALL, *more]


def state_of(workdir, step):
    return checkpoint.restore_state(workdir, step, Devices().replicated)


def test_weights_averages_and_statistics_are_taken_and_the_optimizer_is_new(first_run, tmp_path):
    out = tmp_path / "second"
    rates = ["optim.g_learning_rate=0", "optim.d_learning_rate=0", "optim.ema_decay=0.5"]
    more = ["seed=7", "train.steps=1", "--init-from", str(first_run), "--workdir", str(out)]
    assert cli.main(words(*rates, *more)) == 0
    before, after = state_of(first_run, 2), state_of(out, 1)
    assert int(after["step"]) == 1
    for player in ("g", "d"):
        ours, theirs = (state["task"][player]["params"] for state in (after, before))
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    report = json.loads((out / "init_from.json").read_text())
    assert report["step"] == 2 and not report["new"] + report["not_used"]
    assert not report["other_shape"] and not any("opt_state" in name for name in report["taken"])
    assert any(name.startswith("ema/") for name in report["taken"])


def test_class_embeddings_of_other_classes_are_new(first_run, tmp_path, capsys):
    out = tmp_path / "second"
    more = ["data.name=synthetic", "model.num_classes=none", "train.steps=1"]
    assert cli.main(words(*more, "--init-from", str(first_run), "--workdir", str(out))) == 0
    report = json.loads((out / "init_from.json").read_text())
    other = report["other_shape"]
    assert "d/params/projection/embedding" in report["not_used"]
    assert any("BatchNorm_0/scale" in name for name in other)
    assert "g/params/first/kernel" in report["taken"]
    assert "projection" in capsys.readouterr().err
    # The same command resumes; it does not start again.
    assert cli.main(words(*more, "--init-from", str(first_run), "--workdir", str(out))) == 0


@pytest.mark.parametrize(("place", "status"), [("nowhere", 4), ("empty", 4)])
def test_no_checkpoint_is_an_error_before_anything_is_made(first_run, tmp_path, place, status):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text((first_run / "config.json").read_text())
    out = tmp_path / "second"
    told = ["--init-from", str(tmp_path / place), "--workdir", str(out)]
    assert cli.main(words(*told)) == status
    assert not (out / "config.json").exists()
