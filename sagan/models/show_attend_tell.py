"""Show, Attend and Tell (arXiv:1502.03044): an LSTM that looks at an image as it writes a caption.

The network reads annotation vectors a_i, (B, L, D): what an encoder saw at each place of an image.
At each word it weighs the places by what it has written so far, and reads the weighted mean. Parts
follow the authors' code where that differs from the paper:

    score      u . tanh(P(a_i) + W h), with P two layers and a tanh
    gate       beta = sigmoid(w . h + b), times the context
    LSTM       of the word before, of h and of the context
    start      c, h = tanh of two layers on the mean annotation
    output     L_o tanh(E y + L_h h + L_z z), with dropout on h and behind the tanh
"""

import dataclasses
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sagan.config import ModelConfig
from sagan.config.fields import Count, Fraction


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ModelConfig):
    """Sizes of the captioner, and how it attends."""

    name: str = "show_attend_tell"
    image_size: Count = 24
    num_classes: Count | Literal["data"] | None = None
    # The network that sees the image: a file of sagan/tasks/captioning/encoders.
    encoder: str = "digits"
    # A file of the encoder's weights; none: those that the encoder trains or knows itself.
    encoder_weights: str | None = None
    # Number of words, with those for the end and for unknown words. "data": as many as the data.
    vocabulary_size: Count | Literal["data"] = "data"
    # Most words of a caption that is written. "data": as many as the longest caption of the data.
    max_words: Count | Literal["data"] = "data"
    # soft: the weighted mean of the annotations; hard: one of them, which is drawn; none: their
    # plain mean, so that nothing is attended to.
    attention: Literal["soft", "hard", "none"] = "soft"
    # Values of the vector of a word.
    word_dim: Count = 64
    # Values of the LSTM's state.
    hidden_dim: Count = 128
    # Values of the hidden layer that scores places.
    attention_dim: Count = 64
    # Share of values that dropout sets to zero.
    dropout: Fraction = 0.5
    # Captions that previews and scores keep in view while writing; 1: the likeliest word each time.
    beam: Count = 1


def check(config: Config) -> None:
    """Every combination of the fields is allowed."""


def build(config: Config, **_: object) -> "Captioner":
    """Returns the network of a config whose vocabulary size is a number."""
    assert isinstance(config.vocabulary_size, int)
    return Captioner(
        config.vocabulary_size, config.word_dim, config.hidden_dim, config.attention_dim,
        config.attention != "none",
    )  # fmt: skip


class Memory(NamedTuple):
    """The LSTM's state."""

    h: Float[Array, "B H"]
    c: Float[Array, "B H"]


class Masks(NamedTuple):
    """Factors that dropout multiplies by: on h, and behind the tanh of the output."""

    h: Float[Array, "*T B H"]
    out: Float[Array, "*T B M"]


class Captioner(nn.Module):
    """The parts of the network, called one by one by who trains it or writes with it."""

    vocabulary_size: int
    word_dim: int
    hidden_dim: int
    attention_dim: int
    attends: bool = True

    def setup(self) -> None:
        dense = nn.Dense
        self.words = nn.Embed(self.vocabulary_size, self.word_dim)
        self.start_hidden = dense(self.hidden_dim)
        self.start_h, self.start_c = dense(self.hidden_dim), dense(self.hidden_dim)
        if self.attends:
            self.place_hidden, self.place = dense(self.attention_dim), dense(self.attention_dim)
            self.query = dense(self.attention_dim, use_bias=False)
            self.score = dense(1)
        self.gate = dense(1)
        self.lstm = dense(4 * self.hidden_dim)
        self.recurrent = dense(
            4 * self.hidden_dim, use_bias=False, kernel_init=nn.initializers.orthogonal()
        )
        self.out_h, self.out_z = dense(self.word_dim), dense(self.word_dim, use_bias=False)
        self.out = dense(self.vocabulary_size)

    def __call__(self, a: Float[Array, "B L D"]) -> Float[Array, "B V"]:
        """Writes one word, so that every part is made."""
        memory, places = self.start(a), self.places(a)
        word = self.embed(jnp.zeros(len(a), jnp.int32), first=True)
        z = self.context(a, self.attend(places, memory), memory)
        memory = self.remember(word, memory, z)
        return self.read_out(word, memory.h, z)

    def start(self, a: Float[Array, "B L D"]) -> Memory:
        x = nn.relu(self.start_hidden(a.mean(1)))
        return Memory(jnp.tanh(self.start_h(x)), jnp.tanh(self.start_c(x)))

    def places(self, a: Float[Array, "B L D"]) -> Float[Array, "B L A"]:
        """Returns P(a_i), which is the same for all words."""
        if not self.attends:
            return a
        return jnp.tanh(self.place(self.place_hidden(a)))

    def embed(self, words: Int[Array, "*n"], first: bool | Array) -> Float[Array, "*n M"]:
        """Returns the vectors of words; zeros for what stands before the first word."""
        first = jnp.asarray(first)
        return jnp.where(first[..., None] if first.ndim else first, 0.0, self.words(words))

    def attend(self, places: Float[Array, "B L A"], memory: Memory) -> Float[Array, "B L"]:
        """Returns the weights alpha of the places, which sum to 1."""
        if not self.attends:
            return jnp.full(places.shape[:2], 1 / places.shape[1])
        hidden = jnp.tanh(places + self.query(memory.h)[:, None])
        return jax.nn.softmax(self.score(hidden)[..., 0])

    def context(
        self, a: Float[Array, "B L D"], weights: Float[Array, "B L"], memory: Memory
    ) -> Float[Array, "B D"]:
        """Returns the gated mean of the annotations under some weights."""
        return nn.sigmoid(self.gate(memory.h)) * jnp.einsum("bl,bld->bd", weights, a)

    def remember(self, word: Float[Array, "B M"], memory: Memory, z: Float[Array, "B D"]) -> Memory:
        x = jnp.concatenate([word, z], -1)
        i, f, o, g = jnp.split(self.lstm(x) + self.recurrent(memory.h), 4, -1)
        c = nn.sigmoid(f) * memory.c + nn.sigmoid(i) * jnp.tanh(g)
        return Memory(nn.sigmoid(o) * jnp.tanh(c), c)

    def read_out(
        self,
        word: Float[Array, "*n M"],
        h: Float[Array, "*n H"],
        z: Float[Array, "*n D"],
        masks: Masks | None = None,
    ) -> Float[Array, "*n V"]:
        """Returns the logits of the next word."""
        h = h if masks is None else h * masks.h
        x = jnp.tanh(word + self.out_h(h) + self.out_z(z))
        return self.out(x if masks is None else x * masks.out)
