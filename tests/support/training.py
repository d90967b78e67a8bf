"""A training without its loop: task, data, devices and compiled program, for tests of the step."""

import functools

import jax

from sagan import data, tasks
from sagan.data.pipeline import Feed, Pipeline
from sagan.parallel.devices import Devices
from sagan.training import dispatch, state
from sagan.training.prepare import decoder_of


class Training:
    """What `sagan train` sets up, on some of this process's devices.

    Args:
      change: replaces the task before anything is compiled.
      options: of `dispatch.program`.
    """

    def __init__(self, config, *, devices=1, form="shard_map", change=None, **options):
        self.config = config
        self.devices = Devices(form, jax.devices()[:devices])
        self.task = tasks.build(config, devices)
        if change is not None:
            change(self.task)
        self.pipeline = self.open_pipeline(config)
        program = dispatch.bind(self.task, decoder_of(config), **options)
        self._init = functools.partial(state.init, self.task, config.seed)
        self.program = self.devices.compile(program, Pipeline.BATCH_AXIS)

    def open_pipeline(self, config):
        """Opens the config's data for these devices."""
        source = data.load(config.data, config.model.image_size)
        return Pipeline(Feed.of(config, self.task.batches_per_step), source, self.devices)

    def start(self):
        """Returns the first state."""
        return self.devices.create(self._init)

    def abstract(self):
        """Returns the shapes and types of the first state; nothing is compiled."""
        return self.devices.abstract(self._init)

    def play(self, dispatches):
        """Runs (first step, number of steps) after one another.

        Returns: the states before the first and after each, and the scalars of each, on the host.
        """
        carried = self.start()
        states, history = [self.devices.fetch(carried)], []
        for batch in self.pipeline.batches(dispatches):
            carried, scalars = self.program(carried, self.pipeline.data, batch)
            states.append(self.devices.fetch(carried))
            history.append(self.devices.fetch(scalars))
        return states, history


def play(config, steps, **options):
    """Takes some steps; returns the state after them and each step's scalars, on the host."""
    states, history = Training(config, **options).play([(step, 1) for step in range(steps)])
    return states[-1], history
