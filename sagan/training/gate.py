"""A step that went wrong changes nothing: the decision, inside the compiled step.

A step whose losses or gradients are not all finite is answered with the state before it; only the
step counter goes on, so the next step has other data and other latents. What is kept, saved or
sampled from never holds such a number, and there is nothing to roll back to: the last good state
is the one that is there.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

WATCHED = ("loss/d", "loss/g", "loss/penalty", "grad_norm/d", "grad_norm/g")
SKIPPED, SEEN = "gate/skipped", "gate/seen"


class Report(NamedTuple):
    """What the steps of one dispatch were decided by: a row each, a column for each of `WATCHED`.

    `skipped` says which of them changed nothing.
    """

    skipped: Bool[Array, " steps"]
    seen: Float[Array, "steps watched"]


def keep_finite(old: Any, new: Any, scalars: Mapping[str, Float[Array, ""]]) -> tuple[Any, Any]:
    """Gives `new` if all of `WATCHED` are finite, else `old` with the step counted.

    Finite gradients leave Adam and the averages finite. Parameters overflow nevertheless where a
    learning rate is absurd, and batch statistics where activations are: such elements, each for
    itself, stay as they were, which costs nothing here.

    Args:
      old, new: TrainState before and after.
      scalars: of the step; averaged over devices, so that all of them decide alike.

    Returns: the state, and the entries of `Report` for this step, to go with the scalars.
    """
    seen = jnp.stack([scalars.get(name, jnp.zeros(())) for name in WATCHED])
    good = jnp.all(jnp.isfinite(seen))

    def keep(before: Array, after: Array) -> Array:
        if jnp.issubdtype(after.dtype, jnp.floating):
            return jnp.where(good & jnp.isfinite(after), after, before)
        return jnp.where(good, after, before)

    kept = jax.tree.map(keep, old, new)._replace(step=new.step)
    return kept, {SKIPPED: ~good, SEEN: seen}


def split(scalars: Mapping[str, Any]) -> tuple[dict[str, Any], Report]:
    """Takes the gate's report out of what a dispatch returned."""
    rest = {name: value for name, value in scalars.items() if name not in (SKIPPED, SEEN)}
    return rest, Report(scalars[SKIPPED], scalars[SEEN])
