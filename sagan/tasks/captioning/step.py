"""One training step: a caption is written word by word, and the weights move along the gradient.

Everything here is pure and written for one device under the axis `data`; gradients and scalars are
averaged over all devices explicitly. Every random draw is a function of (seed, step, index in the
global batch), so the number of devices changes nothing. The encoder's weights never move.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, Key

from sagan.data.captions import END
from sagan.data.pipeline import Batch
from sagan.models.show_attend_tell import Captioner, Config, Masks, Memory
from sagan.parallel.devices import AXIS, first_index, mean_over_devices
from sagan.parallel.keys import index_keys, of_stream
from sagan.tasks.captioning.sections import OptimConfig, TrainConfig
from sagan.tasks.gan.optimizer import value

Scalars = dict[str, Float[Array, ""]]
_CAPTION, _DROPOUT, _PLACE = 1, 2, 3  # streams of random keys of one example
_BASELINE_DECAY = 0.9


class CaptionState(NamedTuple):
    """Everything that a step changes, and the encoder.

    Attributes:
      baseline: moving average of the loss per word, which hard attention compares with.
    """

    params: Any
    encoder: Any
    opt_state: Any
    baseline: Float[Array, ""]


class Captioning(NamedTuple):
    """Everything that a step does not change.

    Attributes:
      annotate: an encoder's function `(weights, images) -> annotations`.
    """

    network: Captioner
    annotate: Callable[[Any, Any], Any]
    model: Config
    optim: OptimConfig
    train: TrainConfig


class Draws(NamedTuple):
    """The random numbers of one batch.

    Attributes:
      masks: of dropout; None: no dropout.
      gumbel: standard Gumbel noise, whose sum with log alpha has its maximum at the place drawn;
        None unless attention is hard.
      samples: whether places are drawn for this batch; else their expected value is used.
    """

    masks: Masks | None = None
    gumbel: Float[Array, "T B L"] | None = None
    samples: Bool[Array, ""] | None = None

    def first(self, words: int) -> "Draws":
        """Returns the numbers of the first words."""
        masks, gumbel = jax.tree.map(lambda x: x[:words], (self.masks, self.gumbel))
        return Draws(masks, gumbel, self.samples)


class Written(NamedTuple):
    """What the network says of each word of a caption, and where it looked.

    Attributes:
      alpha: weights of the places; `used` are those that the context was made with.
    """

    logits: Float[Array, "B T V"]
    alpha: Float[Array, "B T L"]
    used: Float[Array, "B T L"]


def write(
    network: Captioner,
    params: Any,
    annotations: Float[Array, "B L D"],
    caption: Int[Array, "B T"],
    draws: Draws,
) -> Written:
    """Lets the network predict each word of a caption from those before it."""

    def call(method: str, *arguments: Any) -> Any:
        return network.apply({"params": params}, *arguments, method=method)

    steps = jnp.arange(caption.shape[1])
    before = jnp.roll(caption, 1, 1).T
    vectors = call("embed", before, (steps == 0)[:, None])
    places = call("places", annotations)
    going = counted(caption).T

    def word(memory: Memory, xs: Any) -> tuple[Memory, Any]:
        vector, goes_on, gumbel = xs
        alpha = call("attend", places, memory)
        used = alpha if gumbel is None else chosen(alpha, gumbel, draws.samples)
        z = call("context", annotations, used, memory)
        new = call("remember", vector, memory, z)
        new = jax.tree.map(lambda a, b: jnp.where(goes_on[:, None], a, b), new, memory)
        return new, (new.h, z, alpha, used)

    start = call("start", annotations)
    _, (h, z, alpha, used) = jax.lax.scan(word, start, (vectors, going, draws.gumbel))
    logits = call("read_out", vectors, h, z, draws.masks)
    return Written(*(jnp.swapaxes(x, 0, 1) for x in (logits, alpha, used)))


def chosen(
    alpha: Float[Array, "B L"], gumbel: Float[Array, "B L"], samples: Bool[Array, ""] | None
) -> Float[Array, "B L"]:
    """Returns one place for each example, drawn from alpha; or alpha itself unless `samples`.

    No gradient flows through a place that was drawn, but it does through alpha.
    """
    assert samples is not None  # as wherever places are drawn
    place = jax.nn.one_hot(jnp.argmax(_log(alpha) + gumbel, -1), alpha.shape[-1])
    return jnp.where(samples, jax.lax.stop_gradient(place), alpha)


def counted(caption: Int[Array, "B T"]) -> Bool[Array, "B T"]:
    """Returns which words count: all up to the first END, with it."""
    ended = jnp.cumsum(caption == END, 1) - (caption == END)
    return ended == 0


def losses(
    written: Written,
    caption: Int[Array, "B T"],
    baseline: Float[Array, ""],
    hard: bool,
    samples: Bool[Array, ""] | None,
    train: TrainConfig,
) -> tuple[Float[Array, ""], Scalars]:
    """Returns what is minimised, and scalars, as means over the batch.

    With soft attention that is -log p(caption) and the "doubly stochastic" penalty, which includes
    the words behind the end. With hard attention its gradient is the estimator of the paper, whose
    REINFORCE term compares the loss per word of each example with the baseline.
    """
    counts = counted(caption).astype(jnp.float32)
    log_p = jax.nn.log_softmax(written.logits)
    nll = -jnp.take_along_axis(log_p, caption[..., None], -1)[..., 0] * counts
    total, per_word = nll.sum(1), nll.sum(1) / counts.sum(1)
    scalars = {"loss/caption": total.mean(), "loss/word": per_word.mean()}
    loss = total.mean()
    if not hard:
        seen = written.alpha.sum(1)
        scalars["loss/attention"] = train.attention_penalty * jnp.mean(((1 - seen) ** 2).sum(-1))
        return loss + scalars["loss/attention"], scalars
    assert samples is not None
    log_alpha = _log(written.alpha)
    log_place = ((written.used * log_alpha).sum(-1) * counts).sum(1)
    entropy = -((written.alpha * log_alpha).sum(-1) * counts).sum(1)
    advantage = jax.lax.stop_gradient(per_word) - baseline
    reinforce = jnp.where(samples, advantage * log_place, 0.0).mean()
    scalars["attention/entropy"] = entropy.mean()
    # The REINFORCE term has the right gradient, but its value means nothing: it is not logged.
    loss += train.reinforce_weight * reinforce - train.entropy_weight * entropy.mean()
    return loss, scalars


def _log(alpha: Array) -> Array:
    return jnp.log(jnp.maximum(alpha, 1e-20))


def train_step(
    parts: Captioning,
    state: CaptionState,
    batch: Batch,
    step: Int[Array, ""],
    key: Key[Array, ""],
) -> tuple[CaptionState, Scalars]:
    """Advances the state by one update; `batch` is this device's share, (B, …)."""
    size = len(batch.image)
    keys = index_keys(jax.random.fold_in(key, 0), first_index(size), size)
    caption = pick(batch.fields["captions"], of_stream(keys, _CAPTION))
    annotations = parts.annotate(state.encoder, batch.image)
    hard = parts.model.attention == "hard"
    draws = draw(parts, keys, key, caption.shape[1], annotations.shape[1])

    def loss_of_first(words: int, params: Any) -> tuple[Array, Any]:
        some, part = caption[:, :words], draws.first(words)
        written = write(parts.network, params, annotations, some, part)
        return losses(written, some, state.baseline, hard, draws.samples, parts.train)

    def loss(params: Any) -> tuple[Array, Any]:
        possible = buckets(caption.shape[1], parts.train.length_buckets)
        if len(possible) == 1:
            return loss_of_first(possible[0], params)
        longest = jax.lax.pmax(counted(caption).sum(1).max(), AXIS)
        branches = [functools.partial(loss_of_first, words) for words in possible]
        return jax.lax.switch((longest > jnp.array(possible[:-1])).sum(), branches, params)

    grads, scalars = jax.grad(loss, has_aux=True)(state.params)
    grads, scalars = mean_over_devices((grads, scalars))
    scalars["grad_norm"] = jnp.linalg.norm(ravel_pytree(grads)[0])
    images_seen = jnp.float32(parts.train.batch_size) * step
    adam = optimizer(parts.optim, images_seen)
    updates, opt_state = adam.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    baseline: Any = optax.incremental_update(
        scalars["loss/word"], state.baseline, 1 - _BASELINE_DECAY
    )
    return CaptionState(params, state.encoder, opt_state, baseline), scalars


def buckets(words: int, count: int) -> list[int]:
    """Returns up to `count` numbers of words that a step may have; the last one is all of them."""
    return sorted({-(-words * n // count) for n in range(1, count + 1)})


def optimizer(optim: OptimConfig, images_seen: Float[Array, ""]) -> optax.GradientTransformation:
    """Returns Adam (arXiv:1412.6980) with the settings of this point of the training."""
    rate = value(optim.learning_rate, images_seen)
    adam = optax.adam(rate, optim.beta1, value(optim.beta2, images_seen), optim.epsilon)
    return optax.flatten(adam)


def pick(captions: Int[Array, "B C T"], keys: Key[Array, " B"]) -> Int[Array, "B T"]:
    """Draws one of each example's captions."""
    if captions.shape[1] == 1:
        return captions[:, 0]
    numbers = jax.vmap(lambda key: jax.random.randint(key, (), 0, captions.shape[1]))(keys)
    return jax.vmap(lambda rows, number: rows[number])(captions, numbers)


def draw(
    parts: Captioning, keys: Key[Array, " B"], key: Key[Array, ""], num_words: int, num_places: int
) -> Draws:
    """Draws the random numbers of a batch.

    Args:
      keys: one for each example.
      key: of the step, the same on all devices.
    """
    model, keep = parts.model, 1 - parts.model.dropout
    masks = None
    if model.dropout:

        def mask(key: Key[Array, ""]) -> Masks:
            keys = jax.random.split(key)
            sizes = (num_words, model.hidden_dim), (num_words, model.word_dim)
            pairs = zip(keys, sizes, strict=True)
            return Masks(*(jax.random.bernoulli(k, keep, shape) / keep for k, shape in pairs))

        masks = jax.tree.map(
            lambda x: jnp.swapaxes(x, 0, 1), jax.vmap(mask)(of_stream(keys, _DROPOUT))
        )
    if model.attention != "hard":
        return Draws(masks)
    gumbel = jax.vmap(lambda key: jax.random.gumbel(key, (num_words, num_places)))
    samples = jax.random.bernoulli(jax.random.fold_in(key, _PLACE))
    return Draws(masks, jnp.swapaxes(gumbel(of_stream(keys, _PLACE)), 0, 1), samples)
