"""Sets up the training of one config as `sagan train` does, so that its parts can be timed.

All that the benchmarks know of the GAN task is in this file.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan import data, tasks
from sagan.config import Config, ConfigError, presets
from sagan.data import Source
from sagan.data.pipeline import Feed, Pipeline
from sagan.models.layers import spectral
from sagan.parallel.devices import Devices
from sagan.parallel.platform import Platform, current
from sagan.tasks.gan import generate, players
from sagan.tasks.gan.game import When
from sagan.training import dispatch
from sagan.training import state as run_state
from sagan.training.prepare import decoder_of, require_divisible
from sagan.training.state import RunState

# `program(state, data, batches) -> (state, scalars)`, for one device.
Program = Callable[[RunState, Any, Any], tuple[RunState, Any]]

_MAX_STEPS = 1_000_000  # more than any benchmark takes

# Overrides for comparing devices: one update of each network, and a discriminator that hardly moves
# before the generator is updated, since Adam turns rounding errors of gradients near 0 into large
# differences. With beta1 = 0, Adam's first moment is the gradient itself.
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
        require_divisible(self.config, self.devices)
        on_cpu = self.platform.backend == "cpu"
        self.steps = 1 if on_cpu else self.config.train.steps_per_dispatch
        self.task: Any = tasks.build(self.config, self.devices.count)
        self.make = functools.partial(run_state.init, self.task, self.config.seed)
        feed = Feed.of(self.config, self.task.batches_per_step)
        self.pipeline = Pipeline(feed, self.source, self.devices)
        dispatches = [(step, self.steps) for step in range(0, _MAX_STEPS, self.steps)]
        self.batches = self.pipeline.batches(dispatches)

    @property
    def images_per_dispatch(self) -> int:
        """Real images that go through the discriminator in one dispatch."""
        return self.config.train.batch_size * self.task.batches_per_step * self.steps

    def create(self) -> RunState:
        """Draws the first state."""
        return self.devices.create(self.make)

    def compile(self, program: Program) -> Any:
        """Maps a program over the devices; its state is donated."""
        return self.devices.compile(program, Pipeline.BATCH_AXIS)

    def dispatch(self, *, skip_nonfinite: bool = True) -> Program:
        """Returns the program that training runs."""
        decode = decoder_of(self.config)
        return dispatch.bind(self.task, decode, skip_nonfinite=skip_nonfinite)

    def discriminator_update(
        self, state: RunState, whole: Any, batches: Any
    ) -> tuple[RunState, Any]:
        """Updates the discriminator once."""
        key, reals = self._first_step(state, whole, batches)
        real = jax.tree.map(lambda x: x[0], reals)
        g, d = state.task.g, state.task.d
        vectors = spectral.iterate(g.params, g.stats["spectral_stats"])
        weights = spectral.normalize(g.params, vectors)
        task = state.task
        d, extra, scalars = players.update_discriminator(
            self.task.gan, weights, g.stats, d, task.extra, key, real, _start()
        )
        return state._replace(task=task._replace(d=d, extra=extra)), scalars

    def generator_update(self, state: RunState, whole: Any, batches: Any) -> tuple[RunState, Any]:
        """Updates the generator once."""
        key, reals = self._first_step(state, whole, batches)
        real = jax.tree.map(lambda x: x[0], reals)
        g, d = state.task.g, state.task.d
        vectors = spectral.iterate(g.params, g.stats["spectral_stats"])
        g, scalars = players.update_generator(self.task.gan, g, d, vectors, key, real, _start())
        return state._replace(task=state.task._replace(g=g)), scalars

    def decoding(self, state: RunState, whole: Any, batches: Any) -> tuple[RunState, Any]:
        """Decodes and augments the images of one step, and leaves the state as it is."""
        return state, self._first_step(state, whole, batches)[1].image.sum()

    def _first_step(self, state: RunState, whole: Any, batches: Any) -> tuple[Any, Any]:
        key = jax.random.wrap_key_data(state.key)
        batch = jax.tree.map(lambda x: x[0], batches)
        return key, dispatch.images(decoder_of(self.config), whole, batch, key)

    def sampling(self, state: RunState) -> tuple[int, Callable[[], Any]]:
        """Returns a number of images, and a function that draws that many."""
        model: Any = self.config.model
        count = 4 * generate.CHUNK
        snapshot = self.devices.local(self.task.snapshot(state.task))
        variables = self.task.inference(snapshot, quick=True)
        z = generate.draw_latents(0, np.arange(count), model.z_dim)
        label = self._labels(count)
        return count, lambda: generate.images(model, variables, z, label)

    def forward(self, state: RunState) -> dict[str, np.ndarray]:
        """Returns images, logits and attention maps for fixed latents, as float32.

        The weights are spectrally normalised as in training.
        """
        size = self.config.train.batch_size
        model: Any = self.config.model
        z = np.random.default_rng(0).normal(size=(size, model.z_dim))
        z, label = z.astype(np.float32), self._labels(size)

        @jax.jit
        def run(g: Any, d: Any, z: jax.Array, label: jax.Array | None) -> dict[str, Any]:
            g_weights, d_weights = (
                spectral.normalize(p.params, spectral.iterate(p.params, p.stats["spectral_stats"]))
                for p in (g, d)
            )
            variables = {"params": g_weights, "batch_stats": g.stats["batch_stats"]}
            networks = self.task.gan.networks
            image, moved = networks.generator.apply(
                variables, z, label, train=False, mutable=["intermediates"]
            )
            variables = {"params": d_weights, "batch_stats": d.stats["batch_stats"]}
            logits = networks.discriminator.apply(variables, image, label, train=False)
            maps = {
                f"map/{layer}": found["attention"][0]
                for layer, found in moved.get("intermediates", {}).items()
            }
            return {"image": image, "logits": logits, **maps}

        return jax.device_get(run(state.task.g, state.task.d, z, label))

    def gradients(self, state: RunState) -> dict[str, np.ndarray]:
        """Returns each network's last gradient as one vector; the config must have `COMPARABLE`."""
        gan = self.devices.fetch(state.task)
        players = {"g": gan.g, "d": gan.d}
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
            "attention_form": getattr(self.config.model, "attention_form", None),
            "steps_per_dispatch": self.steps,
        }


def open_data(config: Config) -> tuple[Source, Config]:
    """Opens the config's data, or synthetic images if it is not available."""
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
    """Returns `words`, a config and overrides, with which `sagan train` can be started.

    Adds overrides for synthetic images if the config's data is not available. Training, unlike the
    other benchmarks, needs as many classes as the dataset has.
    """
    asked = presets.load(words[0], words[1:])
    source, config = open_data(asked)
    fits = config.model.num_classes in (None, len(source.class_names))
    if config.data.name == asked.data.name and fits:
        return list(words)
    classes = "none" if config.model.num_classes is None else "data"
    return [*words, "data.name=synthetic", "data.dir=none", f"model.num_classes={classes}"]


def _start() -> When:
    return When(jnp.zeros(()), jnp.zeros((), jnp.int32))
