"""One training step of an Image Transformer: Adam on the negative log-likelihood.

It is pure and written for one device under the axis `data`. Dropout draws from a key for each image
of the global batch, so the number of devices changes nothing.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key

from sagan.data.pipeline import Batch
from sagan.models import image_transformer
from sagan.models.image_transformer import Config, ImageTransformer
from sagan.parallel.devices import first_index, mean_over_devices
from sagan.parallel.keys import index_keys
from sagan.tasks import Scalars
from sagan.tasks.image_transformer.sections import OptimConfig

_NOAM_SCALE = 0.002 * 5000  # of tensor2tensor's learning rates


class State(NamedTuple):
    """Everything that a step changes; `ema` is the moving average of `params`."""

    params: Any
    opt_state: Any
    ema: Any


def init(network: ImageTransformer, optim: OptimConfig, key: Key[Array, ""]) -> State:
    """Draws the first state; the average starts as a copy of the parameters."""
    config = network.config
    label = None if config.num_classes is None else jnp.int32(0)
    image = jnp.zeros((config.image_size, config.image_size, 3))
    params = network.init(key, *inputs(config, image, label))["params"]
    opt_state = _adam(optim, jnp.zeros(())).init(params)
    return State(params, opt_state, jax.tree.map(jnp.copy, params))


def inputs(
    config: Config, image: Float[Array, "S S 3"], label: Int[Array, ""] | None
) -> tuple[Array, Array | None, Array | None]:
    """Returns what the network takes for an image: its levels, its class, and its small copy."""
    small = image_transformer.small_of(config, image) if config.low_resolution else None
    return image_transformer.tokens_of(config, image), label, small


def learning_rate(optim: OptimConfig, features: int, step: Array) -> Float[Array, ""]:
    """Returns the learning rate of a step, counted from 0.

    Source of "noam": tensor2tensor's, which is that of Vaswani et al. (arXiv:1706.03762), Eq. 3,
    times a constant.
    """
    number, warmup = step + 1.0, optim.warmup_steps
    if optim.schedule == "noam":
        scale = _NOAM_SCALE * optim.learning_rate * features**-0.5
        return scale * jnp.minimum(number * warmup**-1.5, number**-0.5)
    left = (number - warmup) / max(optim.decay_steps - warmup, 1)
    falling = (1 + jnp.cos(jnp.pi * jnp.clip(left, 0, 1))) / 2
    return optim.learning_rate * jnp.minimum(number / warmup, falling)


def train_step(
    network: ImageTransformer,
    optim: OptimConfig,
    soften: float,
    state: State,
    batch: Batch,
    step: Int[Array, ""],
    key: Key[Array, ""],
) -> tuple[State, Scalars]:
    """Advances the state by one update.

    Args:
      soften: share of a target's probability that lies on the neighbouring levels.
      batch: this device's images.
      key: of this step; the same on all devices.
    """
    config, size = network.config, len(batch.image)
    distribution = image_transformer.distribution_of(config)
    keys = index_keys(key, first_index(size), size)

    def of_image(params: Any, image: Array, label: Array | None, key: Any) -> tuple[Array, Array]:
        tokens, *rest = inputs(config, image, label)
        outputs: Any = network.apply(
            {"params": params}, tokens, *rest, train=True, rngs={"dropout": key}
        )
        loss = distribution.loss(outputs, tokens, soften)
        return loss.sum(), distribution.log_probability(outputs, tokens).sum()

    def loss(params: Any) -> tuple[Array, Scalars]:
        axes = (None, 0, None if batch.label is None else 0, 0)
        losses, logs = jax.vmap(of_image, axes)(params, batch.image, batch.label, keys)
        scale = 1 / (dimensions(config) * math.log(2))
        scalars = {"loss": losses.mean() * scale, "bits_per_dim": -logs.mean() * scale}
        return losses.mean() / dimensions(config), scalars

    grads, scalars = mean_over_devices(jax.grad(loss, has_aux=True)(state.params))
    rate = learning_rate(optim, config.features, step)
    updates, opt_state = _adam(optim, rate).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = optax.incremental_update(params, state.ema, 1 - optim.ema_decay)
    scalars |= {"grad_norm": jnp.linalg.norm(ravel_pytree(grads)[0]), "learning_rate": rate}
    return State(params, opt_state, ema), scalars


def dimensions(config: Config) -> int:
    """Returns the number of intensities of an image, over which bits are averaged."""
    return config.image_size**2 * config.channels


def _adam(optim: OptimConfig, rate: Array) -> optax.GradientTransformation:
    return optax.adamw(
        rate,
        optim.beta1,
        float(optim.beta2),  # a schedule was refused
        optim.epsilon,
        weight_decay=optim.weight_decay,
        mask=lambda params: jax.tree.map(lambda x: x.ndim > 1, params),
    )
