"""Scores the checkpoints of a run, once or as they appear, and stores the results with the run."""

import numbers
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sagan import data
from sagan.config import Config, ConfigError
from sagan.config.exit_codes import CRASH, Failure
from sagan.config.fields import require
from sagan.evaluation import (
    RealScores,
    ScoredTask,
    Scorer,
    ScoreSpec,
    presentation,
    results,
)
from sagan.evaluation.requirements import require_same_numbers
from sagan.parallel import processes
from sagan.runs import checkpoint

_POLL_SECONDS = 10.0


class UnfiledError(Failure):
    """Scores were computed, but could not be written to the work directory."""

    exit_code = CRASH


def score_run(
    workdir: Path,
    task: ScoredTask,
    spec: ScoreSpec,
    *,
    step: str | int = "latest",
    watch: bool = False,
    watch_timeout_seconds: float = 3600.0,
    as_json: bool = False,
    show: bool = True,
    scorer: Scorer | None = None,
) -> list[dict[str, Any]]:
    """Scores checkpoints of a work directory, prints the results, and stores them with the run.

    Args:
      step: `latest`, `best` (by eval.best_metric, among those scored), `all` or a number. `all`
        and `watch` do not score a step again that has all these scores with the same fingerprint.
      watch: score every checkpoint as it appears, until the run's last one, or until no new one
        has appeared for `watch_timeout_seconds`.
      show: print the results.
      scorer: one that `task.scorer(spec)` made earlier.

    Returns: the results, ascending by step.

    Raises:
      ConfigError: scores that cannot be computed, with the reason.
      CheckpointError: no usable checkpoint.
      UnfiledError: the results could not be written to the work directory, but were printed.
    """
    config = checkpoint.read_config(workdir)
    data.check_name(config.data)  # before anything large is read
    wanted = [] if watch else _pick(workdir, config, step)
    scoring = _Scoring(workdir, task, scorer or task.scorer(spec), config)
    if watch:
        rows = scoring.watch(watch_timeout_seconds)
    elif step == "all":
        rows = [scoring.filed(n) or scoring.score(n) for n in wanted]
        rows = [row for row in rows if row is not None]
    else:
        rows = [scoring.score_given(n) for n in wanted]
    real = scoring.score_real() if show and rows and not as_json else None
    if show and processes.is_main() and rows:
        presentation.show(rows, as_json=as_json, real=real)
    scoring.require_filed()
    return rows


def is_scored(workdir: Path, step: int, scorer: Scorer) -> bool:
    """Returns whether `eval/` holds all scores of `scorer` for a step, measured in the same way."""
    return _filed(workdir, step, scorer) is not None


def wait_for_config(workdir: Path, timeout_seconds: float) -> None:
    """Waits for a training that was started at the same time to create its work directory."""
    end = time.monotonic() + timeout_seconds
    while not (workdir / "config.json").is_file() and time.monotonic() < end:
        time.sleep(min(1.0, timeout_seconds))


def pick_step(workdir: Path, config: Config, step: str | int, *, more: str = "") -> int:
    """Returns the step that `latest`, `best` (by eval.best_metric) or a number means.

    Args:
      more: other words that the caller allows, for the error.

    Raises:
      ConfigError: it is none of these, or nothing was scored yet.
      CheckpointError: there is no such checkpoint, or it is damaged.
    """
    if step == "latest":
        return checkpoint.pick(workdir, None)
    if step == "best":
        return checkpoint.pick(workdir, results.best_step(workdir, config))
    is_number = isinstance(step, numbers.Integral) and not isinstance(step, bool)
    require(
        is_number or (isinstance(step, str) and step.isdecimal()),
        f"step {step!r}; allowed: latest, best, {more}or a number",
    )
    return checkpoint.pick(workdir, int(step))


def require_own_classes(workdir: Path, task: ScoredTask, config: Config) -> None:
    """Requires that the data at `config.data.dir` have the classes that the run was trained on.

    Raises: ConfigError naming the classes that differ; CheckpointError if no checkpoint is whole.
    """
    names = task.load_sampler(workdir, checkpoint.pick(workdir, None)).class_names
    if names:
        source = data.load(config.data, config.model.image_size)
        require_same_numbers(f"data.dir={config.data.dir}", source.class_names, names)


def _pick(workdir: Path, config: Config, step: str | int) -> list[int]:
    if step == "all":
        checkpoint.pick(workdir, None)
        return checkpoint.steps(workdir)
    return [pick_step(workdir, config, step, more="all, ")]


def _filed(workdir: Path, step: int, scorer: Scorer) -> dict[str, Any] | None:
    """Returns the stored result of a step if it has all scores; else None."""
    result = results.filed(workdir, step, scorer.protocol())
    if result is None:
        return None
    complete = all(
        any(key == name or key.startswith(f"{name}_") for key in result["metrics"])
        for name in scorer.keys()
    )
    return result if complete else None


class _Scoring:
    """Scores the checkpoints of one run with one scorer."""

    def __init__(self, workdir: Path, task: ScoredTask, scorer: Scorer, config: Config):
        self._workdir, self._task, self._scorer = workdir, task, scorer
        self._is_own = scorer.spec.measures_like(ScoreSpec.of(config.eval))
        self._error: OSError | None = None

    def filed(self, step: int) -> dict[str, Any] | None:
        return _filed(self._workdir, step, self._scorer)

    def score_real(self) -> RealScores | None:
        """Scores real held-out images; None if there are none, or one cannot be read."""
        try:
            return self._scorer.score_real()
        except ConfigError as error:  # the checkpoints' scores are shown all the same
            print(f"sagan: no scores of real held-out images: {error}", file=sys.stderr)
            return None

    def require_filed(self) -> None:
        """Raises: UnfiledError if a result could not be written; called after all are printed."""
        if self._error is not None:
            raise UnfiledError(
                f"the scores could not be written to {self._workdir}: {self._error}"
            ) from self._error

    def score_given(self, step: int) -> dict[str, Any]:
        """Scores and files a step. Raises: CheckpointError if it cannot be loaded."""
        return self._finish(self._load(step))

    def score(self, step: int) -> dict[str, Any] | None:
        """Scores and files a step; returns None if it is damaged, or was pruned meanwhile."""
        try:
            sampler = self._load(step)
        except checkpoint.DamagedError as error:
            print(f"sagan: {error}; not scored", file=sys.stderr)
            return None
        except Exception:  # a checkpoint may disappear at any point of loading
            if step in checkpoint.steps(self._workdir):
                raise
            print(f"sagan: step {step} was pruned before it was scored", file=sys.stderr)
            return None
        return self._finish(sampler)

    def _load(self, step: int) -> Any:
        width = self._scorer.spec.ema_sigma
        return self._task.load_sampler(self._workdir, step, ema_sigma=width)

    def _finish(self, sampler: Any) -> dict[str, Any]:
        result = {**self._scorer.score(sampler), "own": self._is_own}
        if processes.is_main():
            try:
                _publish(self._workdir, result)
            except OSError as error:  # scores that took hours are printed all the same
                self._error = error
        return result

    def watch(self, timeout_seconds: float) -> list[dict[str, Any]]:
        """Scores steps as they appear, until the run's last step is scored or time is out."""
        rows: dict[int, dict[str, Any]] = {}
        unusable: set[int] = set()
        since = time.monotonic()
        while True:
            there = checkpoint.steps(self._workdir)
            waiting = [s for s in there if not (s in unusable or s in rows or self.filed(s))]
            if waiting:
                # One at a time, since others may be pruned while this one is scored.
                result = self.score(waiting[0])
                since = time.monotonic()
                if result is None:
                    unusable.add(waiting[0])
                else:
                    rows[waiting[0]] = result
                    print(f"sagan: step {waiting[0]}: {results.scores(result)}", file=sys.stderr)
            elif there and there[-1] >= checkpoint.read_config(self._workdir).train.steps:
                break
            elif time.monotonic() - since > timeout_seconds:
                print(f"sagan: no new checkpoint for {timeout_seconds:g} s; stopped watching",
                      file=sys.stderr)  # fmt: skip
                break
            else:
                time.sleep(min(_POLL_SECONDS, timeout_seconds))
        return [rows[step] for step in sorted(rows)]


def _publish(workdir: Path, result: Mapping[str, Any]) -> None:
    """Stores a result: JSON, TensorBoard events, the plot. One process of a job calls it."""
    for note in results.write(workdir, result):
        print(f"sagan: {note}", file=sys.stderr)
    presentation.write_events(workdir, result["step"], result["metrics"])
    try:
        presentation.plot(workdir)
    except Exception as error:  # the scores are stored, and a picture must not end a training
        print(f"sagan: warning: eval/metrics.png was not drawn: {error}", file=sys.stderr)
