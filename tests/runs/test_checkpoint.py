"""Saving and restoring a state, and which states are refused."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny import CONFIG

from sagan.config import CheckpointConfig
from sagan.runs import checkpoint, versions
from sagan.runs.checkpoint import CheckpointError, Checkpoints

SAMPLER = {"params": jnp.ones(3)}
ABOUT = {"step": 5, "class_names": ["a", "b"]}


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)


@pytest.fixture
def opened(tmp_path):
    """Saves a state as step 5 of a work directory and returns its open checkpoints."""
    checkpoint.claim(tmp_path, CONFIG)
    checkpoints = Checkpoints(tmp_path, CheckpointConfig())

    def save(state):
        checkpoints.save(5, state, SAMPLER, ABOUT)
        checkpoints.wait()
        version = json.loads((tmp_path / versions.NAME).read_text()) | {"sagan": "0.0.1"}
        (tmp_path / versions.NAME).write_text(json.dumps(version))
        return checkpoints

    yield save
    checkpoints.close()


def test_a_state_is_restored_and_the_versions_are_updated(opened, tmp_path):
    state = {"step": jnp.asarray(5), "task": {"w": jnp.arange(4.0)}}
    restored = opened(state).restore(5, abstract(state))
    np.testing.assert_array_equal(restored["task"]["w"], state["task"]["w"])
    assert versions.of_sagan(tmp_path) != "0.0.1"


def test_a_state_with_another_layout_names_both_and_the_version_but_still_samples(opened, tmp_path):
    checkpoints = opened({"step": jnp.asarray(5), "g": jnp.ones(2), "d": jnp.ones(2)})
    wanted = {"step": jnp.asarray(5), "task": {"g": jnp.ones(2)}}
    checkpoint.claim(tmp_path, CONFIG)  # as a resuming run does
    with pytest.raises(CheckpointError) as error:
        checkpoints.restore(5, abstract(wanted))
    facts = ["step 5", "d, g, step", "step, task", "0.0.1", versions.NAME]
    assert [fact for fact in facts if fact not in str(error.value)] == []
    assert versions.of_sagan(tmp_path) == "0.0.1"
    assert checkpoint.pick(tmp_path, None) == 5
    variables, about = checkpoint.restore_sampler(tmp_path, 5, abstract(SAMPLER))
    np.testing.assert_array_equal(variables["params"], SAMPLER["params"])
    assert about == ABOUT


def test_arrays_that_differ_are_named(opened):
    checkpoints = opened({"task": {"w": jnp.ones((2, 3)), "gone": jnp.ones(1)}})
    wanted = {"task": {"w": jnp.ones((2, 4)), "new": jnp.ones(1, jnp.int32)}}
    with pytest.raises(CheckpointError) as error:
        checkpoints.restore(5, abstract(wanted))
    facts = ["task.w", "(2, 3)", "(2, 4)", "task.gone", "task.new"]
    assert [fact for fact in facts if fact not in str(error.value)] == []


def test_other_classes_are_refused(opened):
    checkpoints = opened({"task": jnp.ones(1)})
    checkpoints.require_classes(5, ("a", "b"))
    with pytest.raises(CheckpointError, match="a, b.*x, y"):
        checkpoints.require_classes(5, ("x", "y"))
