"""Other terms of the losses: one row of `REGULARISERS` for each.

`train.regularisers` names any number of them, each with a weight: `lecam=0.3`. `module:name=0.3`
takes a `Regulariser` from a module of your own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from sagan.config import ConfigError, plugins
from sagan.data.pipeline import Batch
from sagan.parallel.devices import AXIS, first_index, mean_over_devices
from sagan.tasks.gan.colours import below
from sagan.tasks.gan.penalties import Discriminate

Logits = Float[Array, " B"]
Scalar = Float[Array, ""]
State = Any


class Update(NamedTuple):
    """What a regulariser sees of one update of a player, on this device.

    Attributes:
      real, real_logits: None in the generator's update.
      fake: generated images, as they are before any augmentation.
      discriminate: as for penalties; augments as the discriminator's other images are.
      generate_near: returns the generated images of the same latents, moved by (B, Z).
      z_dim: number of latent values.
      keys: one random key for each image.
      number: updates of the discriminator before this one.
    """

    real: Batch | None
    fake: Batch
    real_logits: Logits | None
    fake_logits: Logits
    discriminate: Discriminate
    generate_near: Callable[[Float[Array, "B Z"]], Float[Array, "B H W C"]]
    z_dim: int
    keys: Key[Array, " B"]
    number: Int[Array, ""]


class Regulariser(NamedTuple):
    """What is added to the losses; each of the three functions may be None.

    Attributes:
      discriminator: called as `discriminator(update, state)`; returns the unweighted term of the
        discriminator's loss and the next state.
      generator: called as `generator(update)`; returns the unweighted term of the generator's loss.
      select: called as `select(fake_logits, weight)`; returns how much each generated image counts
        in the generator's adversarial loss, on average 1 over all devices.
      state: the first state, a pytree of numbers; None if there is none.
    """

    discriminator: Callable[[Update, State], tuple[Scalar, State]] | None = None
    generator: Callable[[Update], Scalar] | None = None
    select: Callable[[Logits, Any], Logits] | None = None
    state: State = None


def shifted(image: Float[Array, "B H W C"], keys: Key[Array, " B"]) -> Float[Array, "B H W C"]:
    """Mirrors each image with probability 1/2 and moves it by up to an eighth, reflecting edges."""
    height, width = image.shape[1:3]
    dy, dx = height // 8, width // 8
    padded = jnp.pad(image, ((0, 0), (dy, dy), (dx, dx), (0, 0)), mode="reflect")

    def one(key: Array, x: Array) -> Array:
        flip, down, right = jax.random.uniform(key, (3,))
        x = jnp.where(flip < 0.5, x[:, ::-1], x)
        start = (below(2 * dy + 1, down), below(2 * dx + 1, right), 0)
        return jax.lax.dynamic_slice(x, start, image.shape[1:])

    return jax.vmap(one)(keys, padded)


def _consistent(update: Update, batch: Batch, logits: Logits) -> Scalar:
    moved = shifted(batch.image, update.keys)
    return jnp.mean((logits - update.discriminate(moved, batch.label)) ** 2)


def _cr(update: Update, state: State) -> tuple[Scalar, State]:
    assert update.real is not None and update.real_logits is not None
    return _consistent(update, update.real, update.real_logits), state


def _bcr(update: Update, state: State) -> tuple[Scalar, State]:
    value, state = _cr(update, state)
    return value + _consistent(update, update.fake, update.fake_logits), state


_ZCR_SIZE = 0.05


def _near(update: Update) -> Float[Array, "B H W C"]:
    def noise(key: Array) -> Array:
        return _ZCR_SIZE * jax.random.normal(key, (update.z_dim,))

    return update.generate_near(jax.vmap(noise)(update.keys))


def _zcr_d(update: Update, state: State) -> tuple[Scalar, State]:
    near = update.discriminate(_near(update), update.fake.label)
    return jnp.mean((update.fake_logits - near) ** 2), state


def _zcr_g(update: Update) -> Scalar:
    return -jnp.mean((update.fake.image - _near(update)) ** 2)


_LECAM_DECAY, _LECAM_START = 0.99, 1000


def _lecam(update: Update, state: State) -> tuple[Scalar, State]:
    real, fake = update.real_logits, update.fake_logits
    assert real is not None
    decay = jnp.where(update.number < _LECAM_START, 0.0, _LECAM_DECAY)
    found = jax.lax.stop_gradient({"real": jnp.mean(real), "fake": jnp.mean(fake)})
    found = mean_over_devices(found)
    state = {name: decay * state[name] + (1 - decay) * found[name] for name in ("real", "fake")}
    above = jax.nn.relu(real - state["fake"]) ** 2
    below = jax.nn.relu(state["real"] - fake) ** 2
    return jnp.mean(above) + jnp.mean(below), state


def _top(logits: Logits, fraction: Any) -> Logits:
    everyone = jax.lax.all_gather(logits, AXIS, axis=0, tiled=True)
    size, own = len(everyone), first_index(len(logits)) + jnp.arange(len(logits))
    kept = jnp.clip(jnp.round(fraction * size), 1, size)
    others, logit = everyone[None], logits[:, None]
    before = jnp.arange(size)[None] < own[:, None]  # decides between equal logits
    rank = ((others > logit) | ((others == logit) & before)).sum(1)
    return jnp.where(rank < kept, size / kept, 0.0)


REGULARISERS: dict[str, Regulariser] = {
    # CR (arXiv:1910.12027): logits of real images and of the same images, mirrored and moved, are
    # alike. Published weight 10.
    "cr": Regulariser(_cr),
    # bCR (arXiv:2002.04724): CR of real and of generated images. Published weight 10.
    "bcr": Regulariser(_bcr),
    # The discriminator's part of zCR (arXiv:2002.04724): logits of generated images of close
    # latents are alike. Published weight 20; ICR is bcr=10,zcr_d=20,zcr_g=0.5.
    "zcr_d": Regulariser(_zcr_d),
    # The generator's part of zCR: images of close latents differ. Published weight 0.5.
    "zcr_g": Regulariser(generator=_zcr_g),
    # LeCam (arXiv:2104.03310): logits keep close to the average of the other side's. Published
    # weight 0.3; the average has decay 0.99 and begins after 1000 updates, as in StudioGAN.
    "lecam": Regulariser(_lecam, state={"real": 0.0, "fake": 0.0}),
    # Top-k (arXiv:2002.06224): the generator learns from the best of its images only. The weight is
    # their fraction, such as topk=linear:1:0.5:1e6. All devices gather their logits.
    "topk": Regulariser(select=_top),
}


def find(name: str) -> Regulariser:
    """Returns the regulariser that an entry of `train.regularisers` names.

    Raises: ConfigError if there is no such row, or `module:name` does not name a `Regulariser`.
    """
    found = plugins.row(REGULARISERS, name, field="train.regularisers", needs=())
    if not isinstance(found, Regulariser):
        raise ConfigError(f"train.regularisers={name!r}: {found!r} is not a Regulariser")
    return found
