"""Small Image Transformers of all forms, and the same worked out in NumPy, position by position."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from sagan.models import image_transformer
from sagan.models.image_transformer import Config

SIZE = 8
FORMS = {
    "full": {"attention": "full"},
    "local_1d": {"attention": "local_1d", "block": (12,), "memory": (7,)},
    "local_2d": {"attention": "local_2d", "block": (4, 2), "memory": (2, 3)},
}


def config(form, **fields):
    """A grey image of 8 px with a level of its own for each position."""
    usual = {"image_size": SIZE, "num_classes": 3, "channels": 1, "levels": SIZE**2, "layers": 2,
             "features": 8, "heads": 2, "feed_forward": 12, "init_gain": 1.0}  # fmt: skip
    found = Config(**usual | FORMS[form] | fields)
    image_transformer.check(found)
    return found


@functools.cache
def made(form, **fields):
    """Returns config, network, variables and an image's levels, all of them different."""
    found = config(form, **fields)
    network = image_transformer.build(found)
    tokens = jax.random.permutation(jax.random.key(0), SIZE**2)[:, None]
    label = jnp.int32(1) if found.num_classes else None
    return found, network, jax.jit(network.init)(jax.random.key(1), tokens, label), tokens


def order(form):
    """Returns (row, column) of each position, in the order in which they are generated."""
    if form != "local_2d":
        return [(r, c) for r in range(SIZE) for c in range(SIZE)]
    h, w = FORMS[form]["block"]
    return [
        (r, c)
        for top in range(0, SIZE, h)
        for left in range(0, SIZE, w)
        for r in range(top, top + h)
        for c in range(left, left + w)
    ]


def sees(form, query, key):
    """Returns whether one position looks at another, as the paper says it."""
    places = order(form)
    if key > query:
        return False
    if form == "full":
        return True
    if form == "local_1d":
        (size,), (before,) = FORMS[form]["block"], FORMS[form]["memory"]
        return key >= query // size * size - before
    (h, w), (above, beside) = FORMS[form]["block"], FORMS[form]["memory"]
    (row, column), (r, c) = places[query], places[key]
    top, left = row // h * h, column // w * w
    return top - above <= r < top + h and left - beside <= c < left + w + beside


def starts_anew(form, position):
    """Returns whether nothing is read before a position."""
    return position % math.prod(FORMS[form]["block"]) == 0 if form == "local_2d" else position == 0


def numpy_norm(x, p):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * p["scale"] + p["bias"]


def numpy_network(form, found, params, tokens, label):
    """Returns the results of the whole network, position by position, in float64.

    Beside them, how much each position looks at each, (layers, L, L), as the mean over heads.
    """
    params = jax.tree.map(np.float64, params)
    d, heads, places = found.features, found.heads, order(form)
    table = params["read"]["Embed_0"]["embedding"]

    def wave(n):
        k = d // 4
        rates = 1e4 ** (-np.arange(k) / (k - 1))
        return np.concatenate([np.sin(n * rates), np.cos(n * rates)])

    x = np.zeros((len(places), d))
    for t, (row, column) in enumerate(places):
        if not starts_anew(form, t):
            x[t] = table[tokens[t - 1, 0]] * math.sqrt(d)
        x[t] += np.concatenate([wave(row), wave(column)])
        x[t] += params["classes"]["embedding"][label] * math.sqrt(d)
    looked = np.zeros((found.layers, len(places), len(places)))
    for number in range(found.layers):
        p = params[f"layers_{number}"]
        q, k, v = (x @ p["attention"][name]["kernel"] for name in ("query", "key", "value"))
        gathered, c = np.zeros_like(q), d // heads
        for t in range(len(places)):
            keys = [s for s in range(len(places)) if sees(form, t, s)]
            for head in range(heads):
                part = slice(head * c, (head + 1) * c)
                scores = k[keys, part] @ q[t, part] / math.sqrt(c)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                gathered[t, part] = weights @ v[keys, part]
                looked[number, t, keys] += weights / heads
        x = numpy_norm(x + gathered @ p["attention"]["output"]["kernel"], p["attention_norm"])
        inner = np.maximum(x @ p["inner"]["kernel"] + p["inner"]["bias"], 0)
        x = numpy_norm(x + inner @ p["outer"]["kernel"] + p["outer"]["bias"], p["outer_norm"])
    return x @ params["head"]["kernel"] + params["head"]["bias"], looked
