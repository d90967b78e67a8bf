"""Training compiles its step once, ahead of time, and makes no implicit transfers."""

import functools

import jax
import numpy as np
import pytest
from support.tiny import CONFIG, changed

from sagan import data
from sagan.data.pipeline import Feed, Pipeline
from sagan.parallel.devices import Devices, compile_in_background
from sagan.tasks.gan import step as train_step


@pytest.mark.parametrize("form", ["shard_map", "pmap"])
@pytest.mark.parametrize("resident_bytes", [10**6, 0])
def test_what_is_compiled_ahead_is_not_compiled_again(form, resident_bytes):
    config = changed(CONFIG, data={"resident_bytes": resident_bytes, "workers": 0})
    seam = Devices(form, devices=jax.devices()[:2])
    gan = train_step.build(config, 2)
    pipeline = Pipeline(Feed.of(config, 2), data.load(config.data, 8), seam)
    assert pipeline.resident == (resident_bytes > 0)
    program = seam.compile(functools.partial(train_step.program, gan), Pipeline.BATCH_AXIS)
    make = functools.partial(train_step.init, gan)
    compile_in_background(
        program, seam.abstract(make), pipeline.data, pipeline.abstract(1)
    ).result()
    state, batch = seam.create(make), next(pipeline.batches([(0, 1)]))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    program(state, pipeline.data, batch)
    assert compiled == []


def test_no_compilation_after_the_first_dispatch_and_no_hidden_transfer():
    seam = Devices(devices=jax.devices()[:2])
    gan = train_step.build(CONFIG, 2)
    pipeline = Pipeline(Feed.of(CONFIG, 2), data.load(CONFIG.data, 8), seam)
    program = seam.compile(functools.partial(train_step.program, gan), Pipeline.BATCH_AXIS)
    state = seam.create(functools.partial(train_step.init, gan))
    batches = pipeline.batches((step, 1) for step in range(8))
    state, _ = program(state, pipeline.data, next(batches))
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None
    )
    with jax.transfer_guard("disallow"):
        for _ in range(3):
            state, scalars = program(state, pipeline.data, next(batches))
        seam.fetch(scalars)
    assert compiled == [] and program._cache_size() == 1
    with pytest.raises(Exception, match="isallowed"), jax.transfer_guard("disallow"):
        program(state, pipeline.data, jax.tree.map(np.asarray, next(batches)))  # guard is real
