"""Where the time of a run goes, over all its starts."""

import json
import time
from pathlib import Path

_STEP, _RESTART = "step", "restart"
FIRST_STEP = "the first step has begun"
_PARTS = ("compile", _STEP, "input", "evaluation", "checkpoint", "sample", _RESTART)


def _key(part: str) -> str:
    return f"time/{part}_seconds"


class Goodput:
    """Adds up seconds by what is done; whatever is no other part is `step`.

    What an earlier process of the run did is read from `metrics.jsonl`. All that it spent on
    steps that are now repeated counts as `restart`, as does restoring.

    Args:
      step: the run goes on from here.
    """

    def __init__(self, workdir: Path, step: int):
        self.seconds: dict[str, float] = {part: 0.0 for part in _PARTS}
        self._part, self._since = (_RESTART if step else "compile"), time.perf_counter()
        self._began = self._since
        kept, last = _totals(workdir / "metrics.jsonl", step)
        self.seconds |= kept
        self.seconds[_RESTART] += max(0.0, sum(last.values()) - sum(kept.values()))

    def during(self, part: str) -> "_During":
        """Counts what is done in this context as `part`."""
        return _During(self, part)

    def switch(self, part: str) -> str:
        """Counts what comes as `part`; gives what it was until now."""
        now = time.perf_counter()
        self.seconds[self._part] += now - self._since
        before, self._part, self._since = self._part, part, now
        return before

    def scalars(self) -> dict[str, float]:
        """Gives the totals, and the share of the whole that went into steps that count."""
        self.switch(self._part)
        whole = sum(self.seconds.values())
        shares = {"time/goodput": self.seconds[_STEP] / whole if whole else 0.0}
        return shares | {_key(part): seconds for part, seconds in self.seconds.items()}

    def begun(self) -> str:
        """Says, where this process begins its first step, how long it took to get there."""
        return f"{FIRST_STEP}, {time.perf_counter() - self._began:.1f} s after the imports"

    def line(self) -> str:
        """Says it in one line."""
        share = self.scalars()["time/goodput"]
        others = ", ".join(f"{part} {self.seconds[part]:.1f} s" for part in _PARTS if part != _STEP)
        return f"goodput {share:.0%}: steps {self.seconds[_STEP]:.1f} s; {others}"


class _During:
    def __init__(self, goodput: Goodput, part: str):
        self._goodput, self._part = goodput, part

    def __enter__(self) -> None:
        self._before = self._goodput.switch(self._part)

    def __exit__(self, *_: object) -> None:
        self._goodput.switch(self._before)


def _totals(path: Path, step: int) -> tuple[dict[str, float], dict[str, float]]:
    """Reads the totals at the last line up to `step`, and at the last line of all."""
    kept: dict[str, float] = {}
    last: dict[str, float] = {}
    if not path.exists():
        return kept, last
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
            last = {part: float(line[_key(part)]) for part in _PARTS}
            if line["step"] <= step:
                kept = last
        except (ValueError, KeyError, TypeError):  # cut short, or of an earlier version
            continue
    return kept, last
