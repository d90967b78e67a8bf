"""Whether training in bfloat16 ends where training in float32 does: scores over several seeds.

Every run is `sagan train` in a process and a work directory of its own, so the same command goes
on where it was stopped. Imports no jax.
"""

import json
import signal
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.bench.timing import say
from sagan.config import ConfigError

DTYPES = ("float32", "bfloat16")
SEEDS = (0, 1, 2)
_SIGNIFICANCE = 0.05


class Stopped(Exception):
    """A process was stopped, or failed; `status` is how it ended."""

    def __init__(self, status: int):
        super().__init__(f"a process ended with {status}")
        self.status = status


def run(
    words: Sequence[str],
    workdir: Path,
    *,
    weights: Path | None = None,
    seeds: Sequence[int] = SEEDS,
) -> dict[str, Any]:
    """Trains with every type and seed, and compares the scores at the end.

    Args:
      words: config and overrides, as typed; the config's `eval` says what is scored.
      workdir: of the runs, a folder for each.
      weights: of the network that `eval.features` names, where it is not found by itself.

    Returns: `scores` by type and metric, and for each metric whether the types' means differ by no
      more than seeds do: Welch's t-test at 5 %.

    Raises:
      Stopped: a run or its scoring did not get to its end, or the weights are not that network's.
      ConfigError: it left no scores.
    """
    found: dict[str, dict[str, list[float]]] = {dtype: {} for dtype in DTYPES}
    if weights:
        say(f"the real side of the scores, by {weights}")  # wrong ones end this, before training
        _to_the_end("reference", *words, "--weights", str(weights))
    for seed in seeds:
        for dtype in DTYPES:
            folder = workdir / f"{dtype}-{seed}"
            say(f"training in {dtype}, seed {seed}, in {folder}")
            at_end = "false" if weights else "true"
            fixed = [f"seed={seed}", f"model.dtype={dtype}", f"eval.at_end={at_end}"]
            _to_the_end("train", *words, *fixed, "--workdir", str(folder))
            if weights:
                _to_the_end("eval", str(folder), "--weights", str(weights))
            for name, value in _scores(folder).items():
                found[dtype].setdefault(name, []).append(value)
    reference, other = (found[dtype] for dtype in DTYPES)
    metrics = {name: compared(reference[name], other[name]) for name in reference}
    return {
        "config": " ".join(words),
        "seeds": list(seeds),
        "scores": found,
        "metrics": metrics,
        "within_noise": all(m["within_noise"] for m in metrics.values()),
    }


def _to_the_end(*words: str) -> None:
    status = _end_of([sys.executable, "-m", "sagan", *words])
    if status:
        raise Stopped(status)


def _end_of(command: Sequence[str]) -> int:
    """Runs a command; being asked to stop is passed on to it, and its saving waited for."""
    # What it prints at the end is no part of our output.
    process = subprocess.Popen(command, stdout=sys.stderr)
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    try:
        status = process.wait()
        return 128 - status if status < 0 else status
    except BaseException:
        process.terminate()
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _scores(workdir: Path) -> dict[str, float]:
    files = sorted((workdir / "eval").glob("[0-9]*.json"), key=lambda path: int(path.stem))
    if not files:
        raise ConfigError(f"{workdir} holds no scores; is eval.metrics empty?")
    metrics = json.loads(files[-1].read_text())["metrics"]
    return {name: float(value) for name, value in metrics.items()}


def compared(a: Sequence[float], b: Sequence[float]) -> dict[str, Any]:
    """Says whether b's mean differs from a's by more than chance."""
    from scipy import stats

    difference = statistics.fmean(b) - statistics.fmean(a)
    error = (statistics.variance(a) / len(a) + statistics.variance(b) / len(b)) ** 0.5
    test: Any = stats.ttest_ind(a, b, equal_var=False) if error else None
    p = float(test.pvalue) if test else float(difference == 0)
    return {
        "mean_float32": statistics.fmean(a),
        "mean_bfloat16": statistics.fmean(b),
        "difference": difference,
        "standard_error": error,
        "p": p,
        "within_noise": p >= _SIGNIFICANCE,
    }
