"""The training step of every preset of a GAN has the shapes that its state needs."""

import dataclasses

import jax
import pytest

from sagan import tasks
from sagan.config import presets
from sagan.data.pipeline import Batch

GAN_PRESETS = [name for name in presets.preset_names() if presets.load(name).task == "gan"]


@pytest.mark.parametrize("name", GAN_PRESETS)
def test_a_step_keeps_the_shapes_of_the_state(name):
    config = presets.load(name)
    classes = 5 if config.model.num_classes == "data" else config.model.num_classes
    model = dataclasses.replace(config.model, num_classes=classes)
    config = dataclasses.replace(config, model=model)
    task = tasks.build(config, 1)
    key = jax.random.key(0)
    state = jax.eval_shape(lambda: task.init(list(jax.random.split(key, 3))))
    shape = (task.batches_per_step, config.train.batch_size)
    images = (*shape, model.image_size, model.image_size, 3)
    label = None if classes is None else jax.ShapeDtypeStruct(shape, "int32")
    batches = Batch(jax.ShapeDtypeStruct(images, "float32"), label)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    program = jax.shard_map(
        lambda state, batches: task.step(state, batches, jax.numpy.int32(0), key),
        mesh=mesh,
        in_specs=jax.P(),
        out_specs=jax.P(),
        check_vma=False,
    )
    after, scalars = jax.eval_shape(program, state, batches)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert set(task.headline) <= set(scalars)
