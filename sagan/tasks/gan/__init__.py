"""Generative adversarial networks: a generator and a discriminator trained against each other.

| file | what it holds |
|---|---|
| `step.py` | the algorithm: one training step, and the EMA of the generator |
| `players.py`, `terms.py`, `game.py` | one update of each player; its loss; drawing and judging |
| `losses.py`, `conditionings.py` | a row for each adversarial loss and use of the labels |
| `penalties.py`, `regularisers.py` | a row for each gradient penalty and other term |
| `augmentation.py`, `colours.py` | a row for each change of what the discriminator sees |
| `rows.py` | the rows that a config names, and which do not go together |
| `optimizer.py`, `latents.py` | Adam and schedules; the generator's random inputs |
| `power_average.py` | averages of the weights whose width is chosen afterwards |
| `inference.py`, `generate.py` | batch statistics for the averaged weights; drawing images |
| `sampler.py`, `interpolation.py` | a checkpoint that draws images, and images between two |
| `export.py` | a generator as files that others can use |
| `sheet.py`, `attention_maps.py` | the preview of a run; where query points look |
| `health.py`, `telemetry.py` | signs of a collapse; scalars read off the state |
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array, Int, Key

from sagan.config import Config, GuardConfig, plugins
from sagan.config.fields import require
from sagan.data import Source
from sagan.data.pipeline import Batch
from sagan.evaluation import ScoreSpec
from sagan.evaluation.image_scorer import ImageScorer
from sagan.models import GanConfig
from sagan.parallel import platform
from sagan.parallel.devices import AXIS
from sagan.runs import checkpoint
from sagan.tasks import Preview, Scalars
from sagan.tasks.gan import inference, power_average, rows, sheet, telemetry
from sagan.tasks.gan.game import Gan
from sagan.tasks.gan.health import GanHealth
from sagan.tasks.gan.sampler import Sampler
from sagan.tasks.gan.step import AVERAGES, GanState, init, train_step


def check(config: Config) -> None:
    """Raises: ConfigError for an unknown or invalid name, or a combination that cannot work."""
    require(
        isinstance(config.model, GanConfig),
        f"model.name={config.model.name!r} with task=gan; allowed: networks with a generator and a "
        "discriminator",
    )
    plugins.load("models", config.model.name, field="model.name").check(config.model)
    train: Any = config.train
    model: Any = config.model
    rows.find(model, train)


def build(config: Config, num_devices: int) -> "GanTask":
    """Returns the task of a resolved config.

    Raises: ConfigError as `check`.
    """
    check(config)
    return GanTask(config, num_devices)


class GanTask:
    """See `sagan.tasks.Task`."""

    watched: tuple[str, ...] = ("loss/d", "loss/g", "loss/penalty", "grad_norm/d", "grad_norm/g")
    headline: tuple[str, ...] = ("loss/d", "loss/g")

    def __init__(self, config: Config, num_devices: int):
        self._config = config
        self._model: Any = config.model
        self._optim: Any = config.optim
        train: Any = config.train
        self.batches_per_step = train.d_steps_per_g_step
        family = plugins.load("models", self._model.name, field="model.name")
        groups = None
        if self._model.batch_norm_group is not None:
            size = self._model.batch_norm_group
            groups = tuple(tuple(range(i, i + size)) for i in range(0, num_devices, size))
        networks = family.build(self._model, AXIS, groups)
        self.unroll = platform.current().backend == "cpu" and not networks.loops_on_cpu
        self.gan = Gan(
            networks,
            *rows.find(self._model, train),
            self._model,
            self._optim,
            train,
            self.unroll,
        )

    def init(self, keys: Sequence[Key[Array, ""]]) -> GanState:
        require(
            getattr(self._model, "statistics_sets", None) is None,
            "model.statistics_sets: only generators that were imported have several; allowed: none",
        )
        return init(self.gan, *keys)

    def pretrained(self, state: GanState, place: Callable[[Any], Any]) -> GanState:
        del place
        return state

    def step(
        self, state: GanState, batches: Batch, step: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[GanState, Scalars]:
        return train_step(self.gan, state, batches, step, key)

    def telemetry(self, state: GanState) -> Scalars:
        found: Scalars = {}
        for name, player in (("g", state.g), ("d", state.d)):
            stats = player.stats["spectral_stats"]
            found |= telemetry.gammas(name, player.params)
            found |= telemetry.sigmas(name, player.params, stats, self._config.log.sigma)
        return found

    def snapshot(self, state: GanState) -> Any:
        return state.ema, state.g.stats

    def inference(self, snapshot: Any, *, quick: bool = False) -> Any:
        config = self._config
        ema, stats = snapshot
        batches = config.checkpoint.statistics_batches
        return inference.averaged(
            self._model,
            config.seed,
            config.train.batch_size,
            ema,
            stats["spectral_stats"],
            batches=min(1, batches) if quick else batches,
            running=stats["batch_stats"],
        )

    def lasting(self, state: GanState) -> dict[str, Any]:
        return power_average.flat(state.extra.get(AVERAGES, {}))

    def preview(self, variables: Any, step: int) -> Preview:
        config = self._config
        variables = inference.at_truncation(self._model, variables, 1.0)
        return sheet.draw(self._model, config.seed, config.sample, variables, step)

    def health(
        self, config: GuardConfig, source: Source, memory: Mapping[str, Any] | None
    ) -> GanHealth:
        return GanHealth(config, source, memory)

    def scorer(self, spec: ScoreSpec) -> ImageScorer:
        config = self._config
        batches = config.checkpoint.statistics_batches
        how_made = {
            "quantisation": "round",
            "batch_norm": f"standing, {batches} training batches"
            if batches
            else "stored, of training",
            "ema": f"power function, sigma {spec.ema_sigma:g}"
            if spec.ema_sigma is not None
            else self._optim.ema_half_life is not None or self._optim.ema_decay != 0,
        }
        size, classes = self._model.image_size, self._model.num_classes
        return ImageScorer(spec, config.data, size, classes, how_made)

    def load_sampler(self, workdir: Path, step: int, *, ema_sigma: float | None = None) -> Sampler:
        checkpoint.pick(workdir, step)  # checks that it is there, and whole
        shapes = inference.abstract(self._model)
        variables, about = checkpoint.restore_sampler(workdir, step, shapes)
        if ema_sigma is not None:
            ema = power_average.rebuilt(workdir, step, ema_sigma)
            place = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
            state = checkpoint.restore_state(workdir, step, place)["task"]
            variables = self.inference((ema, state["g"]["stats"]))
        names = () if self._model.num_classes is None else tuple(about["class_names"])
        return Sampler(self._config, step, names, variables, about.get("origin", ""))

    def parameters(self, state: GanState) -> dict[str, Any]:
        return {"generator": dict(state.g.params), "discriminator": dict(state.d.params)}

    def activation_bytes(self, batch_size: int) -> int:
        """Adds up the intermediate arrays of one forward pass through both networks."""
        model, networks = self._model, self.gan.networks
        state = jax.eval_shape(lambda: self.init(list(jax.random.split(jax.random.key(0), 3))))
        z = jax.ShapeDtypeStruct((batch_size, model.z_dim), "float32")
        label = None
        if model.num_classes is not None:
            label = jax.ShapeDtypeStruct((batch_size,), "int32")

        def forward(state: GanState, z: Any, label: Any) -> Any:
            g, d = (
                {"params": player.params, "batch_stats": player.stats["batch_stats"]}
                for player in (state.g, state.d)
            )
            image = networks.generator.apply(g, z, label, train=False)
            return networks.discriminator.apply(d, image, label, train=False)

        kept = ("conv_general_dilated", "dot_general", "max", "add", "mul")
        return sum(
            math.prod(array.aval.shape) * array.aval.dtype.itemsize
            for equation in jax.make_jaxpr(forward)(state, z, label).eqns
            if equation.primitive.name in kept
            for array in equation.outvars
        )
