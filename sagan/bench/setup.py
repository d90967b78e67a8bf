"""Sets up the training of one config as `sagan train` does, so that its parts can be timed.

All that the benchmarks know of the GAN task is in this file.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from sagan import data
from sagan.config import Config, ConfigError, presets
from sagan.data import Source
from sagan.data.pipeline import Pipeline
from sagan.models.layers import spectral
from sagan.parallel.devices import Devices, check_split
from sagan.parallel.platform import Platform, current
from sagan.tasks.gan import sampler
from sagan.tasks.gan import step as gan_step

State = gan_step.TrainState
# `program(state, data, batches) -> (state, scalars)`, for one device.
Program = Callable[[State, Any, Any], tuple[State, Any]]

# One update of each player, and a discriminator that has hardly moved when the generator is
# updated: otherwise Adam would turn rounding errors of gradients near 0 into large differences.
# With beta1 = 0, Adam's first moment is the gradient itself.
COMPARABLE = ("model.dtype=float32", "train.d_steps_per_g_step=1", "train.steps_per_dispatch=1",
              "optim.d_learning_rate=1e-12", "optim.beta1=0")  # fmt: skip


class Setup:
    """Networks, data and devices of one config.

    Attributes:
      config: resolved; its data may have been replaced by synthetic images.
      steps: generator updates in one dispatch.

    Raises: ConfigError as training would.
    """

    def __init__(self, config: Config, platform: Platform | None = None):
        self.platform = platform or current()
        self.source, self.config = open_data(config)
        self.devices = Devices(self.config.train.parallel)
        check_split(self.config, self.devices)
        on_cpu = self.platform.backend == "cpu"
        self.steps = 1 if on_cpu else self.config.train.steps_per_dispatch
        self._gan = gan_step.build(self.config, self.devices.count)
        self.make = functools.partial(gan_step.init, self._gan)
        self.pipeline = Pipeline(self.config, self.source, self.devices, self.steps)
        self.batches = self.pipeline.batches(0)

    @property
    def images_per_dispatch(self) -> int:
        """Real images that go through the discriminator in one dispatch."""
        train = self.config.train
        return train.batch_size * train.d_steps_per_g_step * self.steps

    def create(self) -> State:
        """Draws the first state."""
        return self.devices.create(self.make)

    def compile(self, program: Program) -> Any:
        """Maps a program over the devices; its state is donated."""
        return self.devices.compile(program, Pipeline.BATCH_AXIS)

    def dispatch(self, *, skip_nonfinite: bool = True) -> Program:
        """Returns the program that training runs."""
        return functools.partial(gan_step.program, self._gan, gated=skip_nonfinite)

    def discriminator_update(self, state: State, whole: Any, batches: Any) -> tuple[State, Any]:
        """Updates the discriminator once."""
        reals = self._first_step(state, whole, batches)
        real = jax.tree.map(lambda x: x[0], reals)
        vectors = spectral.iterate(state.g.params, state.g.stats["spectral_stats"])
        weights = spectral.normalize(state.g.params, vectors)
        key = jax.random.wrap_key_data(state.key)
        d, scalars = gan_step.update_discriminator(
            self._gan, weights, state.g.stats, state.d, key, real
        )
        return state._replace(d=d), scalars

    def generator_update(self, state: State, whole: Any, batches: Any) -> tuple[State, Any]:
        """Updates the generator once."""
        size = jax.tree.leaves(batches)[0].shape[Pipeline.BATCH_AXIS]
        vectors = spectral.iterate(state.g.params, state.g.stats["spectral_stats"])
        key = jax.random.wrap_key_data(state.key)
        g, scalars = gan_step.update_generator(self._gan, state.g, state.d, vectors, key, size)
        return state._replace(g=g), scalars

    def decoding(self, state: State, whole: Any, batches: Any) -> tuple[State, Any]:
        """Decodes and augments the images of one step, and changes nothing."""
        return state, self._first_step(state, whole, batches).image.sum()

    def _first_step(self, state: State, whole: Any, batches: Any) -> Any:
        batch = jax.tree.map(lambda x: x[0], batches)
        return gan_step.real_batches(self._gan, state, whole, batch)

    def sampling(self, state: State) -> tuple[int, Callable[[], Any]]:
        """Returns a number of images, and a function that samples so many from a state."""
        state, count = self.devices.local(state), 4 * sampler.CHUNK
        stats = state.g.stats["spectral_stats"]
        variables = sampler.refresh(self.config, state.ema, stats, batches=1)
        z = sampler.draw_latents(0, np.arange(count), self.config.model.z_dim)
        label = self._labels(count)
        return count, lambda: sampler.generate(self.config, variables, z, label)

    def forward(self, state: State) -> dict[str, np.ndarray]:
        """Returns images, logits and attention maps for fixed latents, as float32.

        The weights are spectrally normalised as in training.
        """
        size = self.config.train.batch_size
        z = np.random.default_rng(0).normal(size=(size, self.config.model.z_dim))
        z, label = z.astype(np.float32), self._labels(size)

        @jax.jit
        def run(g: Any, d: Any, z: jax.Array, label: jax.Array | None) -> dict[str, Any]:
            g_weights, d_weights = (
                spectral.normalize(p.params, spectral.iterate(p.params, p.stats["spectral_stats"]))
                for p in (g, d)
            )
            variables = {"params": g_weights, "batch_stats": g.stats["batch_stats"]}
            apply: Any = self._gan.generator.apply
            image, moved = apply(variables, z, label, train=False, mutable=["intermediates"])
            d_apply: Any = self._gan.discriminator.apply
            logits = d_apply({"params": d_weights}, image, label, train=False)
            maps = {
                f"map/{layer}": found["attention"][0]
                for layer, found in moved.get("intermediates", {}).items()
            }
            return {"image": image, "logits": logits, **maps}

        return jax.device_get(run(state.g, state.d, z, label))

    def gradients(self, state: State) -> dict[str, np.ndarray]:
        """Returns both players' last gradients as vectors, in a config with `COMPARABLE`."""
        state = self.devices.fetch(state)
        players = {"g": state.g, "d": state.d}
        return {
            name: np.concatenate([np.ravel(x) for x in jax.tree.leaves(player.opt_state[0].mu)])
            for name, player in players.items()
        }

    def _labels(self, count: int) -> np.ndarray | None:
        classes = self.config.model.num_classes
        return np.arange(count, dtype=np.int32) % classes if isinstance(classes, int) else None

    def describe(self) -> dict[str, Any]:
        return {
            "config": self.config.name,
            "devices": f"{self.devices.count} x {self.platform.device_kind}",
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


def words_with_data(words: Sequence[str]) -> list[str]:
    """Returns `words`, a config and overrides, so that `sagan train` can be started with them.

    Adds overrides for synthetic images where the config's data cannot be had. Training, unlike the
    other benchmarks, needs as many classes as the dataset has.
    """
    asked = presets.load(words[0], words[1:])
    source, config = open_data(asked)
    fits = config.model.num_classes in (None, len(source.class_names))
    if config.data.name == asked.data.name and fits:
        return list(words)
    classes = "none" if config.model.num_classes is None else "data"
    return [*words, "data.name=synthetic", "data.dir=none", f"model.num_classes={classes}"]


def sizes(config: Config) -> tuple[Any, Any, dict[str, Any]]:
    """Returns both networks with the shapes of their variables, without computing any.

    Returns: generator, discriminator, and `{"g": variables, "d": variables}`.
    """
    gan = gan_step.build(config, 1)
    state = jax.eval_shape(lambda: gan_step.init(gan))
    g = {"params": state.g.params, "batch_stats": state.g.stats["batch_stats"]}
    return gan.generator, gan.discriminator, {"g": g, "d": {"params": state.d.params}}
