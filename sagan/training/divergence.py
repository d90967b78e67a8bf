"""Steps that changed nothing because their numbers were not finite: counted, listed, bounded."""

import math
import sys
from pathlib import Path

from sagan.runs.logs import Journal
from sagan.training.gate import WATCHED, Report

FILE = "diverged.json"


class Diverged(Exception):
    """A run has come to no good, and going on would not help (exit 3)."""


class History:
    """All skipped steps of a run, over all its starts, in `diverged.json`.

    Args:
      limit: of skipped steps; one more ends the run.
      step: the run goes on from here.
      skipped: how many steps were skipped until then, as the state says.
      main: whether this process writes and speaks; all of them count.
    """

    def __init__(self, workdir: Path, limit: int, step: int, skipped: int, main: bool):
        self._journal = Journal(workdir / FILE, step, main)
        self._limit, self._main = limit, main
        self.skipped = skipped

    def read(self, step: int, report: Report) -> None:
        """Takes in what a dispatch reported.

        Args:
          step: the run's, after the dispatch.
          report: on the host.

        Raises: Diverged if too many steps of the run have been skipped.
        """
        first = step - len(report.skipped) + 1
        for number, row in enumerate(report.seen):
            if report.skipped[number]:
                self._add(first + number, dict(zip(WATCHED, map(float, row), strict=True)))
        if self.skipped > self._limit:
            raise Diverged(
                f"{self.skipped} steps had numbers that are not finite, more than "
                f"guard.skip_steps={self._limit}; all are listed in {self._journal.path}; "
                "none is in any checkpoint"
            )

    def _add(self, step: int, seen: dict[str, float]) -> None:
        self.skipped += 1
        wrong = [name for name, value in seen.items() if not math.isfinite(value)]
        shown = {k: v if math.isfinite(v) else str(v) for k, v in seen.items()}
        self._journal.add(step, {"not_finite": wrong, "values": shown})
        if self._main:
            print(
                f"sagan: step {step} is skipped, not finite: {', '.join(wrong)} "
                f"({self.skipped} so far; guard.skip_steps={self._limit})",
                file=sys.stderr,
            )
