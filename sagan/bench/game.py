"""A config's training, set up as `sagan train` does, to be timed."""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable
from typing import Any

import jax

from sagan import data
from sagan.config import Config, ConfigError
from sagan.data import Source
from sagan.data.pipeline import Feed, Pipeline
from sagan.parallel.devices import Devices, check_split
from sagan.tasks.gan import step as train_step


class Game:
    """Networks, data and devices of one config.

    Attributes:
      config: resolved; its data may have been replaced by synthetic images.
      steps: generator updates in one dispatch.

    Raises: ConfigError as training would.
    """

    def __init__(self, config: Config):
        self.source, self.config = open_data(config)
        self.devices = Devices(self.config.train.parallel)
        check_split(
            self.devices.count,
            batch_size=self.config.train.batch_size,
            accumulate_steps=self.config.train.accumulate_steps,
            batch_norm_group=self.config.model.batch_norm_group,
        )
        on_cpu = jax.default_backend() == "cpu"
        self.steps = 1 if on_cpu else self.config.train.steps_per_dispatch
        self.gan = train_step.build(self.config, self.devices.count)
        self.make = functools.partial(train_step.init, self.gan)
        self.pipeline = Pipeline(
            Feed.of(self.config, self.config.train.d_steps_per_g_step), self.source, self.devices
        )
        each = self.steps
        self.batches = self.pipeline.batches(
            (number * each, each)
            for number in (
                itertools.count()
                if self.pipeline.resident
                else range(self.config.train.steps // each)
            )
        )

    @property
    def images_per_dispatch(self) -> int:
        """Real images that go through the discriminator in one dispatch."""
        train = self.config.train
        return train.batch_size * train.d_steps_per_g_step * self.steps

    @property
    def device_kind(self) -> str:
        return jax.devices()[0].device_kind

    def create(self) -> Any:
        """Draws the first state."""
        return self.devices.create(self.make)

    def compile(self, program: Callable[..., Any] = train_step.program) -> Any:
        """Maps `program(gan, state, data, batch)` over the devices; the state is donated."""
        return self.devices.compile(functools.partial(program, self.gan), Pipeline.BATCH_AXIS)

    def describe(self) -> dict[str, Any]:
        return {
            "config": self.config.name,
            "devices": f"{self.devices.count} x {self.device_kind}",
            "data": self.config.data.name,
            "batch_size": self.config.train.batch_size,
            "image_size": self.config.model.image_size,
            "dtype": self.config.model.dtype,
            "attention_form": self.config.model.attention_form,
            "steps_per_dispatch": self.steps,
        }


def open_data(config: Config) -> tuple[Source, Config]:
    """Opens the config's data, or synthetic images where it cannot be had."""
    try:
        source = data.load(config.data, config.model.image_size)
        return source, data.resolve(config, source)
    except ConfigError as error:
        print(f"{error}; measuring with synthetic images", file=sys.stderr)
    synthetic = dataclasses.replace(config.data, name="synthetic", dir=None)
    source = data.load(synthetic, config.model.image_size)
    classes = config.model.num_classes
    model = dataclasses.replace(config.model, num_classes=4 if classes == "data" else classes)
    return source, dataclasses.replace(config, data=synthetic, model=model)
