"""The smallest real game, shared by tests: SAGAN at 8 px on synthetic discs."""

import dataclasses
import functools

import jax
import numpy as np

from sagan import data
from sagan.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig
from sagan.data.pipeline import Feed, Pipeline
from sagan.parallel.devices import Devices
from sagan.tasks.gan import step as train_step

CONFIG = Config(
    name="tiny",
    data=DataConfig(name="synthetic", flip=True),
    model=ModelConfig(
        image_size=8,
        num_classes=4,
        z_dim=8,
        g_channels=4,
        d_channels=4,
        attention=(8,),
        attention_d=(4,),
    ),
    optim=OptimConfig(ema_decay=0.5, ema_start_step=2),
    train=TrainConfig(steps=8, batch_size=8, d_steps_per_g_step=2),
)


def changed(config=CONFIG, **sections):
    """Replaces fields by section: `changed(train={"batch_size": 4})`."""
    for name, fields in sections.items():
        section = dataclasses.replace(getattr(config, name), **fields)
        config = dataclasses.replace(config, **{name: section})
    return config


def play(config, steps, *, devices=1, form="shard_map"):
    """Takes some steps; returns the state and each step's scalars, on the host."""
    seam = Devices(form, jax.devices()[:devices])
    gan = train_step.build(config, devices)
    pipeline = Pipeline(
        Feed.of(config, config.train.d_steps_per_g_step), data.load(config.data, 8), seam
    )
    program = seam.compile(functools.partial(train_step.program, gan), Pipeline.BATCH_AXIS)
    state = seam.create(functools.partial(train_step.init, gan))
    batches, history = pipeline.batches((step, 1) for step in range(steps)), []
    for _ in range(steps):
        state, scalars = program(state, pipeline.data, next(batches))
        history.append(seam.fetch(scalars))
    return seam.fetch(state), history


def same_bits(a, b):
    """Lists the leaves that differ in any bit."""
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(a), jax.tree_util.tree_leaves_with_path(b), strict=True
    )
    return [
        jax.tree_util.keystr(path)
        for (path, x), (_, y) in pairs
        if np.asarray(x).tobytes() != np.asarray(y).tobytes()
    ]
