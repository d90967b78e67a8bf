"""Repeating a step inside a compiled program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def repeat(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any, *, unroll: bool
) -> tuple[Any, Any]:
    """Applies `carry, y = step(carry, x)` to each x along the first axis of `xs`, like `lax.scan`.

    A loop compiles its step once, which halves the time to compile a training step with two
    updates. Unroll it on a CPU where the step holds convolutions: XLA:CPU computes the gradient
    of a convolution up to a hundred times slower inside a loop than outside.

    Args:
      unroll: repeat the step in the program instead of looping. A single step never loops.

    Returns: the last carry, and the ys stacked.
    """
    step = jax.jit(step)  # traced once, however often it is repeated
    length = len(jax.tree.leaves(xs)[0])
    if length > 1 and not unroll:
        return jax.lax.scan(step, carry, xs)
    ys = []
    for i in range(length):
        carry, y = step(carry, jax.tree.map(lambda x: x[i], xs))  # noqa: B023
        ys.append(y)
    return carry, jax.tree.map(lambda *y: jnp.stack(y), *ys)
