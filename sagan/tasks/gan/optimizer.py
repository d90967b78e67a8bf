"""Adam for each player, values that follow a schedule, and the decay of the average."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sagan.config import GanOptimConfig
from sagan.config.schedules import Schedule, parse

Value = float | Float[Array, ""]


def value(setting: float | str | Schedule, images_seen: Float[Array, ""]) -> Value:
    """Returns a config value at a point of the training.

    Args:
      setting: a number, or a schedule over the number of real images seen.
      images_seen: real images that the discriminator has seen so far.
    """
    schedule = setting if isinstance(setting, Schedule) else parse(setting)
    if not isinstance(schedule, Schedule):
        return schedule
    progress = jnp.clip(images_seen / schedule.images, 0, 1)  # 0 at the start, 1 at the end
    if schedule.kind == "cosine":
        progress = (1 - jnp.cos(jnp.pi * progress)) / 2
    return schedule.start + (schedule.end - schedule.start) * progress


def adam(
    config: GanOptimConfig, learning_rate: float | str, images_seen: Float[Array, ""]
) -> optax.GradientTransformation:
    """Returns Adam with the values that its settings have at this point of the training.

    The state's structure does not depend on the settings, so the transformation may be made anew
    for each update.

    Source: Adam (arXiv:1412.6980).
    """
    return optax.flatten(
        optax.adam(
            value(learning_rate, images_seen),
            config.beta1,
            value(config.beta2, images_seen),
            config.epsilon,
        )
    )


def average_decay(
    config: GanOptimConfig, step: Array, images: Float[Array, ""], images_per_step: int
) -> Value:
    """Returns the decay of the averaged weights in a step that sees some more real images.

    With a half-life of h images the decay is 0.5 ^ (images_per_step / h), as in StyleGAN2
    (arXiv:1912.04958) and R3GAN (arXiv:2501.05441); 0 if h is 0.

    Args:
      step: steps before this one.
      images: real images seen before.
    """
    if config.ema_half_life is None:
        decay = value(config.ema_decay, images)
    else:
        half_life = value(config.ema_half_life, images)
        if config.ema_warm_up is not None:
            half_life = jnp.minimum(half_life, config.ema_warm_up * images)
        decay = 0.5 ** (images_per_step / jnp.maximum(half_life, 1e-8))
    return jnp.where(step + 1 < config.ema_start_step, 0.0, decay)


def orthogonalised(grads: Any, params: Any, weight: float) -> Any:
    """Adds the gradient of orthogonal regularisation to those of all kernels.

    Each kernel is a matrix W with a row per output. Added is 2 weight (W W^T without its diagonal)
    W, which turns the rows away from one another. Embeddings are left alone.

    Source: BigGAN (arXiv:1809.11096), Eq. 3, as its PyTorch code applies it.
    """
    if not weight:
        return grads

    def added(path: Any, grad: Array, kernel: Array) -> Array:
        if path[-1].key != "kernel":
            return grad
        rows = kernel.reshape(-1, kernel.shape[-1]).T
        gram = jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST)
        gram = gram * (1 - jnp.eye(len(rows)))
        pull = jnp.matmul(gram, rows, precision=jax.lax.Precision.HIGHEST)
        return grad + 2 * weight * pull.T.reshape(kernel.shape)

    return jax.tree_util.tree_map_with_path(added, grads, params)
