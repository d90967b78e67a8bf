"""Writing captions with trained weights: beam search, of which a beam of 1 is the greedy way."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config import plugins
from sagan.data.captions import END, UNKNOWN
from sagan.models import show_attend_tell
from sagan.models.show_attend_tell import Config

_NEVER = -1e30


class Beams(NamedTuple):
    """The captions in view, B images with K captions each.

    Attributes:
      words: END follows the last word to the end of the row.
      alpha: where each word was looked for.
      log_p: of the words so far.
    """

    memory: Any
    last: Int[Array, "B K"]
    words: Int[Array, "B K T"]
    alpha: Float[Array, "B K T L"]
    log_p: Float[Array, "B K"]
    ended: Any


@functools.partial(jax.jit, static_argnums=(0, 1))
def captions(
    model: Config, beam: int, variables: Any, images: Float[Array, "B S S 3"]
) -> tuple[Int[Array, "B T"], Float[Array, "B T L"], Float[Array, " B"]]:
    """Writes the likeliest caption that beam search finds for each image in [-1, 1].

    Unknown words are never written. Hard attention looks at the place of the greatest weight. The
    likelihood is that of all words and of the end; it is not divided by their number. After
    `max_words` words a caption ends.

    Args:
      beam: captions of each image that are kept from word to word.
      variables: `params` and `encoder`.

    Returns: words, where each was looked for, and the logarithm of the caption's probability.
    """
    encoder: Any = plugins.load("encoders", model.encoder, field="model.encoder")
    return search(model, beam, variables["params"], encoder.annotate(variables["encoder"], images))


def search(
    model: Config, beam: int, params: Any, annotations: Float[Array, "B L D"]
) -> tuple[Int[Array, "B T"], Float[Array, "B T L"], Float[Array, " B"]]:
    """Writes captions from what an encoder saw; otherwise as `captions`."""
    network = show_attend_tell.build(model)

    def call(method: str, *arguments: Any) -> Any:
        return network.apply({"params": params}, *arguments, method=method)

    assert isinstance(model.max_words, int)
    count, length = len(annotations), model.max_words + 1
    rows = jnp.repeat(annotations, beam, 0)  # (B K, L, D)
    places = jnp.repeat(call("places", annotations), beam, 0)

    def step(beams: Beams, t: Array) -> tuple[Beams, None]:
        memory = jax.tree.map(lambda x: x.reshape(count * beam, -1), beams.memory)
        alpha = call("attend", places, memory)
        if model.attention == "hard":
            alpha = jax.nn.one_hot(alpha.argmax(-1), alpha.shape[-1])
        word = call("embed", beams.last.reshape(-1), t == 0)
        z = call("context", rows, alpha, memory)
        memory = call("remember", word, memory, z)
        logits = call("read_out", word, memory.h, z).at[:, UNKNOWN].set(_NEVER)
        log_p = jax.nn.log_softmax(logits).reshape(count, beam, -1)
        only_end = jnp.where(jnp.arange(log_p.shape[-1]) == END, 0.0, _NEVER)[None, None]
        must_end = jnp.where(t == length - 1, only_end, 0.0)
        log_p = jnp.where(beams.ended[..., None], only_end, log_p + must_end)
        total = (beams.log_p[..., None] + log_p).reshape(count, -1)
        best, index = jax.lax.top_k(total, beam)
        parent, last = jnp.divmod(index, log_p.shape[-1])

        def of_parent(x: Array) -> Array:
            return jax.vmap(lambda values, chosen: values[chosen])(x, parent)

        memory = jax.tree.map(lambda x: x.reshape(count, beam, -1), memory)
        words = of_parent(beams.words).at[:, :, t].set(last)
        seen = beams.alpha.at[:, :, t].set(alpha.reshape(count, beam, -1))
        ended = of_parent(beams.ended) | (last == END)
        memory = jax.tree.map(of_parent, memory)
        return Beams(memory, last, words, of_parent(seen), best, ended), None

    start = call("start", annotations)
    beams = Beams(
        jax.tree.map(lambda x: jnp.repeat(x[:, None], beam, 1), start),
        jnp.zeros((count, beam), jnp.int32),
        jnp.full((count, beam, length), END, jnp.int32),
        jnp.zeros((count, beam, length, annotations.shape[1])),
        jnp.zeros((count, beam)).at[:, 1:].set(_NEVER),
        jnp.zeros((count, beam), bool),
    )
    beams, _ = jax.lax.scan(step, beams, jnp.arange(length))
    return beams.words[:, 0], beams.alpha[:, 0], beams.log_p[:, 0]
