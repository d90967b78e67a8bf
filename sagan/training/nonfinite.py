"""Steps whose numbers are not finite change nothing; they are counted, listed and bounded.

The decision is made inside the compiled step. Where a watched scalar (a loss, the norm of a
gradient) is infinite or NaN, the step's new state is dropped and the old one kept. Only the count
of steps goes on, so the next step has other data and other random draws. No checkpoint and no
sample ever holds such a number, and there is nothing to roll back.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from sagan.config import exit_codes
from sagan.config.exit_codes import Failure
from sagan.runs.logs import Journal

FILE = "diverged.json"
_SKIPPED, _SEEN = "nonfinite/skipped", "nonfinite/seen"


class Diverged(Failure):
    """Training has diverged or collapsed, and continuing would not help."""

    exit_code = exit_codes.DIVERGED


class Report(NamedTuple):
    """Which steps of one dispatch were skipped, and why.

    Attributes:
      skipped: which of the steps changed nothing.
      seen: the watched scalars of each step.
    """

    skipped: Bool[np.ndarray, " steps"]
    seen: Float[np.ndarray, "steps watched"]


def keep_finite(
    watched: Sequence[str], old: Any, new: Any, scalars: Mapping[str, Float[Array, ""]]
) -> tuple[Any, Bool[Array, ""], dict[str, Array]]:
    """Returns `new` if all watched scalars are finite, else `old`.

    Finite gradients leave Adam's state and the averages finite. Parameters can overflow all the
    same if the learning rate is absurd, and so can batch statistics if activations are. Only
    the elements that overflow then keep their old values.

    Args:
      watched: names of scalars; one that this step does not have counts as 0.
      old, new: states of the task before and after the step.
      scalars: of the step, averaged over devices, so that all devices decide alike.

    Returns: the state, whether the step was skipped, and entries for the step's scalars from
      which `split` makes a `Report`.
    """
    seen = jnp.stack([scalars.get(name, jnp.zeros(())) for name in watched])
    good = jnp.all(jnp.isfinite(seen))

    def keep(before: Array, after: Array) -> Array:
        if jnp.issubdtype(after.dtype, jnp.floating):
            return jnp.where(good & jnp.isfinite(after), after, before)
        return jnp.where(good, after, before)

    return jax.tree.map(keep, old, new), ~good, {_SKIPPED: ~good, _SEEN: seen}


def last(scalars: Mapping[str, Array]) -> dict[str, Array]:
    """Returns the scalars of a dispatch's last step; a `Report`'s entries keep all steps."""
    return {k: x if k in (_SKIPPED, _SEEN) else x[-1] for k, x in scalars.items()}


def split(scalars: Mapping[str, Any]) -> tuple[dict[str, Any], Report | None]:
    """Separates the report from what a dispatch returned; None if its steps were not checked."""
    rest = {name: value for name, value in scalars.items() if name not in (_SKIPPED, _SEEN)}
    if len(rest) == len(scalars):
        return rest, None
    return rest, Report(scalars[_SKIPPED], scalars[_SEEN])


class History:
    """All skipped steps of a run, over all its starts, in `diverged.json`.

    Args:
      watched: names of the scalars in a report.
      limit: number of skipped steps that a run may have.
      step: the run continues from here.
      skipped: number of steps that were skipped until then.
      main: whether this process writes and prints; all processes count.
    """

    def __init__(
        self,
        workdir: Path,
        watched: Sequence[str],
        limit: int,
        *,
        step: int,
        skipped: int,
        main: bool,
    ):
        self._journal = Journal(workdir / FILE, step, main)
        self._watched, self._limit, self._main = tuple(watched), limit, main
        self.skipped = skipped

    def read(self, step: int, report: Report) -> None:
        """Adds the skipped steps of a dispatch.

        Args:
          step: number of steps taken after the dispatch.
          report: the dispatch's report, copied to the host.

        Raises: Diverged if too many steps of the run have been skipped.
        """
        first = step - len(report.skipped) + 1
        for number, row in enumerate(report.seen):
            if report.skipped[number]:
                self._add(first + number, dict(zip(self._watched, map(float, row), strict=True)))
        if self.skipped > self._limit:
            raise Diverged(
                f"{self.skipped} steps were skipped because their losses or gradients were not "
                f"finite, more than guard.skip_steps={self._limit} allows. They are listed in "
                f"{self._journal.path}. No checkpoint contains any of them"
            )

    def _add(self, step: int, seen: dict[str, float]) -> None:
        self.skipped += 1
        wrong = [name for name, value in seen.items() if not math.isfinite(value)]
        shown = {k: v if math.isfinite(v) else str(v) for k, v in seen.items()}
        self._journal.add(step, {"not_finite": wrong, "values": shown})
        if self._main:
            print(
                f"sagan: step {step} is skipped, because these are not finite: {', '.join(wrong)} "
                f"({self.skipped} skipped so far; guard.skip_steps={self._limit})",
                file=sys.stderr,
            )
