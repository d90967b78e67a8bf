"""The Image Transformer: images predicted intensity by intensity, each from those before it.

| file | what it holds |
|---|---|
| `sections.py` | the sections `optim` and `train` of its configs |
| `step.py` | one training step: Adam on the negative log-likelihood |
| `generate.py` | drawing images with cached keys and values; bits of images |
| `sampler.py` | a checkpoint that draws, completes and enlarges images |
| `sheet.py` | the preview of a run |
| `scorer.py` | bits per dimension, beside the scores of samples |
| `health.py` | signs that training has gone wrong |

Networks: `sagan.models.image_transformer`. Source: Image Transformer (arXiv:1802.05751).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Int, Key

from sagan.config import Config, GuardConfig, plugins
from sagan.config.fields import require
from sagan.data import Source
from sagan.data.pipeline import Batch
from sagan.evaluation import ScoreSpec
from sagan.models import image_transformer
from sagan.runs import checkpoint
from sagan.tasks import Preview, Scalars, require_usual_average
from sagan.tasks.image_transformer import sheet
from sagan.tasks.image_transformer.health import TransformerHealth
from sagan.tasks.image_transformer.sampler import Sampler
from sagan.tasks.image_transformer.scorer import TransformerScorer
from sagan.tasks.image_transformer.sections import OptimConfig, TrainConfig
from sagan.tasks.image_transformer.step import State, init, inputs, train_step

__all__ = ["OptimConfig", "TrainConfig", "TransformerTask", "build", "check"]


def check(config: Config) -> None:
    """Raises: ConfigError for networks of another task, or sections that do not fit."""
    model, optim, train = config.model, config.optim, config.train
    require(
        isinstance(model, image_transformer.Config),
        f"model.name={model.name!r} with task=image_transformer; allowed: image_transformer, or a "
        "module of yours whose Config derives from its",
    )
    assert isinstance(model, image_transformer.Config)
    plugins.load("models", model.name, field="model.name").check(model)
    assert isinstance(optim, OptimConfig) and isinstance(train, TrainConfig)
    require(
        isinstance(optim.beta2, (int, float)),
        f"optim.beta2={optim.beta2!r}; allowed here: a number",
    )
    require(
        train.soften == 0 or model.output == "categorical",
        f"train.soften={train.soften:g} with model.output={model.output}; allowed: 0",
    )
    require(
        optim.schedule == "noam" or train.steps <= optim.decay_steps,
        f"train.steps={train.steps}, but the learning rate is 0 from optim.decay_steps="
        f"{optim.decay_steps} on; raise that as well",
    )


def build(config: Config, num_devices: int) -> "TransformerTask":
    """Returns the task of a resolved config.

    Raises: ConfigError as `check`.
    """
    del num_devices
    check(config)
    return TransformerTask(config)


class TransformerTask:
    """See `sagan.tasks.Task`."""

    batches_per_step: int = 1
    watched: tuple[str, ...] = ("loss", "grad_norm")
    headline: tuple[str, ...] = ("bits_per_dim",)
    unroll: bool = False

    def __init__(self, config: Config):
        self._config = config
        self._model: Any = config.model
        self._optim: Any = config.optim
        self._train: Any = config.train
        family = plugins.load("models", self._model.name, field="model.name")
        self._network = family.build(self._model)

    def init(self, keys: Sequence[Key[Array, ""]]) -> State:
        return init(self._network, self._optim, keys[0])

    def pretrained(self, state: State, place: Callable[[Any], Any]) -> State:
        del place
        return state

    def step(
        self, state: State, batches: Batch, step: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[State, Scalars]:
        batch = jax.tree.map(lambda x: x[0], batches)
        network, optim, soften = self._network, self._optim, self._train.soften
        return train_step(network, optim, soften, state, batch, step, key)

    def telemetry(self, state: State) -> Scalars:
        """Returns the norm of the weights, and how far their average is from them."""
        weights, average = (ravel_pytree(x)[0] for x in (state.params, state.ema))
        return {
            "norm/weights": jnp.linalg.norm(weights),
            "norm/average_behind": jnp.linalg.norm(weights - average),
        }

    def snapshot(self, state: State) -> Any:
        return state.ema

    def inference(self, snapshot: Any, *, quick: bool = False) -> Any:
        del quick
        return {"params": snapshot}

    def lasting(self, state: Any) -> dict[str, Any]:
        del state
        return {}

    def preview(self, variables: Any, step: int) -> Preview:
        return sheet.draw(self._config, variables, step)

    def health(
        self, config: GuardConfig, source: Source, memory: Mapping[str, Any] | None
    ) -> TransformerHealth:
        return TransformerHealth(config, source, self._model, memory)

    def scorer(self, spec: ScoreSpec) -> TransformerScorer:
        return TransformerScorer(spec, self._config)

    def load_sampler(self, workdir: Path, step: int, *, ema_sigma: float | None = None) -> Sampler:
        require_usual_average(self._config, ema_sigma)
        checkpoint.pick(workdir, step)  # checks that it is there, and whole
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        params = jax.eval_shape(lambda: self.init([jax.random.key(0)])).params
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), {"params": params}
        )
        variables, about = checkpoint.restore_sampler(workdir, step, shapes)
        names = () if self._model.num_classes is None else tuple(about["class_names"])
        return Sampler(self._config, step, names, variables)

    def parameters(self, state: State) -> dict[str, Any]:
        return {"transformer": dict(state.params)}

    def activation_bytes(self, batch_size: int) -> int:
        """Adds up the intermediate arrays of one forward pass."""
        model, size = self._model, self._model.image_size
        image = jax.ShapeDtypeStruct((size, size, 3), "float32")
        label = None if model.num_classes is None else jax.ShapeDtypeStruct((), "int32")
        params = jax.eval_shape(lambda: self.init([jax.random.key(0)])).params

        def forward(params: Any, image: Any, label: Any) -> Any:
            return self._network.apply({"params": params}, *inputs(model, image, label))

        kept = ("dot_general", "exp", "max", "add", "mul", "div")
        one = sum(
            math.prod(array.aval.shape) * array.aval.dtype.itemsize
            for equation in jax.make_jaxpr(forward)(params, image, label).eqns
            if equation.primitive.name in kept
            for array in equation.outvars
        )
        return one * batch_size
