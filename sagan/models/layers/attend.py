"""Dot-product attention between the positions of feature maps, in several forms.

| form | what it computes |
|---|---|
| `full` | attention over all positions, with the whole map of weights in memory |
| `memory_efficient` | the same in chunks of queries, forwards and backwards |
| `flash` | the same in one kernel where there is one, else as `memory_efficient` |
| `local_1d`, `local_2d` | attention over nearby positions only |
| `auto` | `full` on maps smaller than 64 x 64; on others `flash` on TPUs, else `memory_efficient` |

Keys and values have the queries' height and width, or half of both (pooled). Scores are not scaled.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sagan.models.layers import chunked_attention, flash_attention
from sagan.models.layers.local_attention import LOCAL, Gathered, Keys, Queries, Values, seen
from sagan.parallel import platform as hardware
from sagan.parallel.platform import Platform

EXACT = ("full", "memory_efficient", "flash")  # the same function, computed in different ways
FORMS = (*EXACT, *LOCAL)
EFFICIENT_FROM_PX = 64  # height and width from which on `auto` does not keep the map of weights


def gather(
    form: str, block: int, query: Queries, key: Keys, value: Values,
    platform: Platform | None = None,
) -> Gathered:  # fmt: skip
    """Returns the mean of the values, weighted by the softmax of scores, for each query.

    Args:
      form: see the table above.
      block: size of a block of the local forms; see `local_attention`.
      platform: where it will run; None: the hardware of this process.

    Raises: ValueError for an unknown form, or a block that does not fit.
    """
    platform = platform or hardware.current()
    if form == "auto":
        large = query.shape[1] * query.shape[2] >= EFFICIENT_FROM_PX**2
        efficient = "flash" if platform.backend == "tpu" else "memory_efficient"
        form = efficient if large else "full"
    if form in LOCAL:
        return LOCAL[form](query, key, value, block)
    if form == "full":
        return chunked_attention.full(query, key, value)
    if form not in EXACT:
        raise ValueError(f"attention form {form!r}; allowed: auto, {', '.join(FORMS)}")
    kernel = flash_attention.kernel_for(query, key, value, platform)
    if form == "flash" and kernel:
        return flash_attention.flash(query, key, value, kernel)
    return chunked_attention.memory_efficient(query, key, value)


def gather_with_map(
    form: str, block: int, query: Queries, key: Keys, value: Values
) -> tuple[Gathered, Float[Array, "B Q K"]]:
    """Returns what `gather` returns, and the whole map of weights.

    The map's rows sum to 1. It is 0 at keys that a query of a local form does not attend to.
    """
    scores = chunked_attention.scores(query, key)
    if form in LOCAL:
        looked_at = seen(form, block, query.shape[1:3], key.shape[1:3])
        scores = jnp.where(looked_at[None], scores, -jnp.inf)
    weights = jax.nn.softmax(scores)
    return chunked_attention.weighted(weights, value, query.shape), weights
