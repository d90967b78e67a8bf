"""Beam search, against the likeliest of all captions."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny_captions import CONFIG

from sagan import tasks
from sagan.config import replace
from sagan.data.captions import END, UNKNOWN
from sagan.tasks.captioning.step import Draws, write
from sagan.tasks.captioning.writing import search


def opened(attention):
    model = {"vocabulary_size": 5, "max_words": 2, "attention": attention}
    task = tasks.build(replace(CONFIG, model=model))

    @jax.jit
    def drawn():
        state = task.init(list(jax.random.split(jax.random.key(1), 3)))
        # Larger weights, so that words and places differ clearly.
        params = jax.tree.map(lambda x: 2 * x, state.params)
        return params, jax.random.normal(jax.random.key(2), (6, 4, 4))

    return task, *drawn()


def every_caption():
    """Returns all captions of up to two words, with their ends."""
    words = [2, 3, 4]
    one = [[w, END, END] for w in words]
    return [[END, END, END], *one, *([v, w, END] for v, w in itertools.product(words, words))]


def log_p_of(task, params, a, captions):
    """Returns the logarithm of the probability of each word of captions, for each image."""

    @jax.jit
    @jax.vmap
    def each(rows):
        gumbel = jnp.zeros((3, len(a), 4)) if task.parts.model.attention == "hard" else None
        draws = Draws(None, gumbel, jnp.array(True))
        caption = jnp.tile(rows[None], (len(a), 1))
        logits = write(task.parts.network, params, a, caption, draws).logits
        return jax.nn.log_softmax(logits.at[..., UNKNOWN].set(-1e30))

    return np.asarray(each(np.array(captions, np.int32)))


@pytest.mark.parametrize("attention", ["soft", "hard", "none"])
def test_a_wide_beam_finds_the_likeliest_of_all_captions(attention):
    task, params, a = opened(attention)
    known = every_caption()
    log_p = log_p_of(task, params, a, known)
    chances = np.array(
        [
            sum(log_p[n, :, t, rows[t]] for t in range(rows.index(END) + 1))
            for n, rows in enumerate(known)
        ]
    )
    assert (np.exp(chances).sum(0) < 1).all()  # those of three words are missing
    found, alpha, best = jax.jit(lambda p, a: search(task.parts.model, 13, p, a))(params, a)
    assert [known[n] for n in chances.argmax(0)] == np.asarray(found).tolist()
    np.testing.assert_allclose(best, chances.max(0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.asarray(alpha).sum(-1), 1, rtol=1e-5)


def test_a_beam_of_1_takes_the_likeliest_word_each_time():
    task, params, a = opened("soft")
    found, _, _ = jax.jit(lambda p, a: search(task.parts.model, 1, p, a))(params, a)
    log_p = log_p_of(task, params, a, found)
    for image, rows in enumerate(np.asarray(found).tolist()):
        for t in range(min(rows.index(END) + 1, 2)):
            assert rows[t] == log_p[image, image, t].argmax()
        assert rows[2] == END
