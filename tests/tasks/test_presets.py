"""The training step of every preset of a GAN has the shapes that its state needs."""

import contextlib
import dataclasses

import jax
import numpy as np
import pytest
from support.traced import around_step, kinds, traced_once

from sagan import tasks
from sagan.config import presets
from sagan.data.pipeline import Batch
from sagan.parallel import platform

GAN_PRESETS = [name for name in presets.preset_names() if presets.load(name).task == "gan"]
# The other presets are for accelerators. They are traced as for a TPU, where a convolution is one
# operation, which is faster than tracing the form for CPUs.
ON_CPU = ("debug", "digits")
TPU = platform.Platform("tpu", "TPU v5 lite", "")


@pytest.mark.parametrize("name", GAN_PRESETS)
def test_a_step_keeps_the_shapes_of_the_state(name):
    config = presets.load(name)
    classes = 5 if config.model.num_classes == "data" else config.model.num_classes
    model = dataclasses.replace(config.model, num_classes=classes)
    config = dataclasses.replace(config, model=model)
    assumed = contextlib.nullcontext() if name in ON_CPU else platform.assume(TPU)
    with assumed:
        task = tasks.build(config, 1)
        task.gan = task.gan._replace(networks=traced_once(task.gan.networks))
        shape = (task.batches_per_step, config.train.batch_size)
        images = (*shape, model.image_size, model.image_size, 3)
        label = None if classes is None else jax.ShapeDtypeStruct(shape, np.int32)
        batches = Batch(jax.ShapeDtypeStruct(images, np.float32), label)
        before, after, scalars = around_step(task, batches)
    assert kinds(after) == kinds(before)
    assert set(task.headline) <= set(scalars)
