"""Where the time of a run goes, over all its starts."""

import json
import time
from pathlib import Path

from sagan.training.phase import Activity, Phase

FIRST_STEP = "the first step has begun"


def _key(phase: Phase) -> str:
    return f"time/{phase.value}_seconds"


class Goodput:
    """Adds up the seconds that a run spends in each phase.

    The totals of earlier processes of the run are read from `metrics.jsonl`. Time that they spent
    on steps which are now repeated counts as `restart`, and so does restoring.

    Args:
      activity: its phases are timed from now on.
      step: the run continues from here.
    """

    def __init__(self, workdir: Path, step: int, activity: Activity):
        self.seconds: dict[Phase, float] = dict.fromkeys(Phase, 0.0)
        kept, last = _totals(workdir / "metrics.jsonl", step)
        self.seconds |= kept
        self.seconds[Phase.RESTORING] += max(0.0, sum(last.values()) - sum(kept.values()))
        self._activity = activity
        self._since = self._began = time.perf_counter()
        activity.listen(self._account)

    def _account(self, before: Phase, after: Phase) -> None:
        now = time.perf_counter()
        self.seconds[before] += now - self._since
        self._since = now

    def scalars(self) -> dict[str, float]:
        """Returns the totals, and the fraction of all time in steps that are not repeated."""
        self._account(self._activity.phase, self._activity.phase)
        whole = sum(self.seconds.values())
        share = self.seconds[Phase.STEPPING] / whole if whole else 0.0
        totals = {_key(phase): seconds for phase, seconds in self.seconds.items()}
        return {"time/goodput": share} | totals

    def begun(self) -> str:
        """Returns the line that reports how long this process took to reach its first step."""
        return f"{FIRST_STEP}, {time.perf_counter() - self._began:.1f} s after the imports"

    def summary(self) -> str:
        """Returns the totals in one line."""
        share = self.scalars()["time/goodput"]
        others = ", ".join(
            f"{phase.value} {seconds:.1f} s"
            for phase, seconds in self.seconds.items()
            if phase is not Phase.STEPPING
        )
        return f"goodput {share:.0%}: steps {self.seconds[Phase.STEPPING]:.1f} s; {others}"


def _totals(path: Path, step: int) -> tuple[dict[Phase, float], dict[Phase, float]]:
    """Reads the totals at the last line up to `step`, and at the last line of all."""
    kept: dict[Phase, float] = {}
    last: dict[Phase, float] = {}
    if not path.exists():
        return kept, last
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
            last = {phase: float(line[_key(phase)]) for phase in Phase}
            if line["step"] <= step:
                kept = last
        except (ValueError, KeyError, TypeError):  # incomplete, or written by an earlier version
            continue
    return kept, last
