"""Training compiles its step once, ahead of time, and makes no implicit transfers."""

import functools

import jax
import numpy as np
import pytest
from support.tiny import DENSE
from support.training import Training

from sagan.config import replace
from sagan.parallel.devices import compile_in_background
from sagan.training import state


def compilations():
    """Returns a list that grows with every program that is compiled from now on."""
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    return compiled


@pytest.mark.parametrize("form", ["shard_map", "pmap"])
@pytest.mark.parametrize("resident_bytes", [10**6, 0])
def test_what_is_compiled_ahead_is_not_compiled_again(form, resident_bytes):
    config = replace(DENSE, data={"resident_bytes": resident_bytes, "workers": 0})
    training = Training(config, form=form, devices=2)
    pipeline = training.pipeline
    assert pipeline.resident == (resident_bytes > 0)
    shapes = training.devices.abstract(functools.partial(state.init, training.task, config.seed))
    call = shapes, pipeline.data, pipeline.abstract(1)
    compile_in_background(training.program, *call).result()
    carried, batch = training.start(), next(iter(pipeline.batches([(0, 1)])))
    compiled = compilations()
    jax.block_until_ready(training.program(carried, pipeline.data, batch))
    assert compiled == []


def test_no_compilation_after_the_first_dispatch_and_no_hidden_transfer():
    training = Training(DENSE, devices=2)
    carried = training.start()
    batches = training.pipeline.batches([(step, 1) for step in range(8)])
    carried, _ = training.program(carried, training.pipeline.data, next(batches))
    compiled = compilations()
    with jax.transfer_guard("disallow"):
        for batch in batches:
            carried, scalars = training.program(carried, training.pipeline.data, batch)
            assert np.isfinite(training.devices.fetch(scalars)["loss/d"])
    assert compiled == []
    batch = next(iter(training.pipeline.batches([(8, 1)])))
    with pytest.raises(Exception, match="isallowed"), jax.transfer_guard("disallow"):
        training.program(carried, training.pipeline.data, jax.tree.map(np.asarray, batch))
