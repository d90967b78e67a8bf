"""Averages of the weights whose width is chosen after the training.

An average of relative width sigma weighs the weights of step t, out of T, by a power of t / T whose
standard deviation is sigma T. Training keeps those that `optim.ema_widths` names, and saves them
with every checkpoint. Afterwards an average of any width is the combination of the saved ones whose
profile is closest to it.

Source: EDM2 (arXiv:2312.02696), Section 3 and Appendix C.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int

from sagan.config.fields import require
from sagan.runs import lasting

WIDEST = 12**-0.5  # of the plain mean of all steps
_MOST_ERROR = 0.1  # of a profile, as a fraction of the profile's own size


def exponent(width: float) -> float:
    """Returns the power of the profile of a relative width in (0, 0.288).

    It is the greatest root of g^3 + 7 g^2 + (16 - width^-2) g + (12 - width^-2).
    """
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def rate(width: float, step: Int[Array, ""]) -> Float[Array, ""]:
    """Returns how much of the new weights goes into an average, in the step after `step` others.

    That is 1 - (1 - 1/t)^(g + 1) for step t and exponent g. It is computed without rounding
    1 - 1/t, which in float32 would be wrong by several percent of 1/t after a million steps.
    """
    return -jnp.expm1((exponent(width) + 1) * jnp.log1p(-1 / (step + 1.0)))


def overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Returns the scalar product of two profiles, each given as (step, exponent)."""
    (t, a), (s, b) = one, other
    power = b if t < s else -a
    return (a + 1) * (b + 1) * (t / s) ** power / ((a + b + 1) * max(t, s))


def combination(
    saved: Sequence[tuple[float, float]], wanted: tuple[float, float]
) -> tuple[Float[np.ndarray, " N"], float]:
    """Returns how much each saved profile counts in a wanted one, and how far the sum is from it.

    Args:
      saved, wanted: (step, exponent) of each profile.

    Returns: weights, whose sum is 1; and the size of the difference over that of the profile.
    """
    products = np.array([[overlap(a, b) for b in saved] for a in saved])
    goal = np.array([overlap(a, wanted) for a in saved])
    weights = np.linalg.lstsq(products, goal, rcond=1e-12)[0]
    weights = weights / weights.sum()
    own = overlap(wanted, wanted)
    square = own - 2 * weights @ goal + weights @ products @ weights
    return weights, float(np.sqrt(max(square, 0) / own))


def flat(averages: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of averages by `WIDTH/PATH`."""
    return flatten_dict(dict(averages), sep="/")


def updated(averages: Mapping[str, Any], params: Any, step: Int[Array, ""]) -> dict[str, Any]:
    """Returns the averages, by their widths as text, after a step that ended in `params`."""

    def one(width: str, average: Any) -> Any:
        new = rate(float(width), step)
        return jax.tree.map(lambda a, p: a + new * (p - a), average, params)

    return {width: one(width, average) for width, average in averages.items()}


def rebuilt(workdir: Path, step: int, width: float) -> Any:
    """Returns the parameters of a step, averaged with a relative width.

    Raises: ConfigError if the run has no averages, or none that this width can be made from.
    """
    require(
        0 < width < WIDEST,
        f"--ema-sigma {width:g}; allowed: above 0 and below {WIDEST:.3f}, the plain mean",
    )
    known = [number for number in lasting.steps(workdir) if number <= step]
    require(
        bool(known),
        f"--ema-sigma: {workdir} has no averages up to step {step}; a training keeps them with "
        "optim.ema_widths, such as optim.ema_widths=0.05,0.1",
    )
    saved, places = [], []
    for number in known:
        for name in sorted({name.partition("/")[0] for name in lasting.names(workdir, number)}):
            saved.append((float(number), exponent(float(name))))
            places.append((number, name))
    weights, error = combination(saved, (float(step), exponent(width)))
    require(
        error < _MOST_ERROR,
        f"--ema-sigma {width:g} at step {step} cannot be made from the {len(known)} saved steps of "
        f"{workdir}: the profile would be {error:.0%} off; allowed: widths near or above those of "
        "optim.ema_widths, and steps that were saved",
    )
    total: dict[str, Any] = {}
    for number in known:
        arrays = lasting.read(workdir, number)
        for (at, name), weight in zip(places, weights, strict=True):
            if at != number:
                continue
            for key, array in arrays.items():
                own, _, path = key.partition("/")
                if own == name:
                    total[path] = total.get(path, 0.0) + weight * array.astype(np.float64)
    return unflatten_dict({path: jnp.float32(array) for path, array in total.items()}, sep="/")
