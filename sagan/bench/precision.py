"""Compares trainings in bfloat16 with trainings in float32 by their scores, over several seeds.

Each training is `sagan train` in a process and a work directory of its own. If this is stopped, the
same command resumes it. Imports no jax.
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.bench import children
from sagan.bench.timing import say
from sagan.config import ConfigError

DTYPES = ("float32", "bfloat16")
SEEDS = (0, 1, 2)
_SIGNIFICANCE = 0.05


class Stopped(Exception):
    """A child process was stopped or has failed. `status` is its exit status."""

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
    """Trains with every dtype and seed, and compares the last scores.

    Args:
      words: a config and overrides; its `eval` section selects what is scored.
      workdir: gets a work directory for each training.
      weights: of the network named by `eval.features`, if that network needs a file.

    Returns: `scores` by dtype and metric; `metrics`: for each, the difference of the means and
      `within_noise` (Welch's t-test, 5 %); and `within_noise`, whether all of them are.

    Raises:
      Stopped: a training or its scoring did not finish, or the weights are not that network's.
      ConfigError: a training left no scores.
    """
    found: dict[str, dict[str, list[float]]] = {dtype: {} for dtype in DTYPES}
    if weights:
        # Before any training, so that a wrong file fails at once.
        say(f"scoring the real images with {weights}")
        _finish("reference", *words, "--weights", str(weights))
    for seed in seeds:
        for dtype in DTYPES:
            folder = workdir / f"{dtype}-{seed}"
            say(f"training in {dtype} with seed {seed} in {folder}")
            at_end = "false" if weights else "true"
            fixed = [f"seed={seed}", f"model.dtype={dtype}", f"eval.at_end={at_end}"]
            _finish("train", *words, *fixed, "--workdir", str(folder))
            if weights:
                _finish("eval", str(folder), "--weights", str(weights))
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


def _finish(*words: str) -> None:
    status = children.run_saving([sys.executable, "-m", "sagan", *words])
    if status:
        raise Stopped(status)


def _scores(workdir: Path) -> dict[str, float]:
    files = sorted((workdir / "eval").glob("[0-9]*.json"), key=lambda path: int(path.stem))
    if not files:
        raise ConfigError(f"{workdir} holds no scores; is eval.metrics empty?")
    metrics = json.loads(files[-1].read_text())["metrics"]
    return {name: float(value) for name, value in metrics.items()}


def compared(float32: Sequence[float], bfloat16: Sequence[float]) -> dict[str, Any]:
    """Tests whether the mean of the bfloat16 scores differs from that of the float32 scores.

    Source: Welch's t-test. If neither sample varies, only equal means are within noise.
    """
    from scipy import stats

    a, b = float32, bfloat16
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
