"""Scalars over steps, thinned so that a page of many lines stays small; alarms and resumes."""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from sagan import tasks
from sagan.config import Config
from sagan.config.exit_codes import Failure
from sagan.runs import logs
from sagan.training import health, nonfinite
from sagan.training.report.facts import journal

_POINTS = 400  # of a curve
_MARKS = 500  # of a run, at most
_RESTART = "time/restart_seconds"


class Table(NamedTuple):
    """The lines of `metrics.jsonl`, by column. Absent values, and those that are null, are NaN."""

    steps: Float[np.ndarray, " N"]
    columns: dict[str, Float[np.ndarray, " N"]]
    last: dict[str, Any]


def read(workdir: Path) -> Table:
    """Reads all scalars of a run; the table is empty if nothing was written."""
    kinds: dict[tuple[str, ...], tuple[list[int], list[list[Any]]]] = {}  # lines of equal names
    last: dict[str, Any] = {}
    number = -1
    for number, last in enumerate(logs.read(workdir)):
        places, rows = kinds.setdefault(tuple(last), ([], []))
        places.append(number)
        rows.append(list(last.values()))
    columns: dict[str, np.ndarray] = {}
    for names, (places, rows) in kinds.items():
        for name, values in zip(names, zip(*rows, strict=True), strict=True):
            column = columns.setdefault(name, np.full(number + 1, np.nan))
            column[places] = [v if isinstance(v, (int, float)) else np.nan for v in values]
    steps = columns.pop("step", np.zeros(0))
    return Table(steps, columns, last)


def of(table: Table, workdir: Path, config: Config, num_runs: int) -> dict[str, Any]:
    """Returns the curves and marks of a run, for a page that shows so many runs.

    Where there are more lines than points, a point has the mean, the least and the greatest value
    of the lines that it stands for.
    """
    points = max(100, _POINTS if num_runs <= 3 else 3 * _POINTS // num_runs)
    bounds = np.linspace(0, len(table.steps), min(points, len(table.steps)) + 1).astype(int)
    is_thinned = len(table.steps) > points
    curves = {}
    for name, column in sorted(table.columns.items()):
        parts = [column[a:b][np.isfinite(column[a:b])] for a, b in itertools.pairwise(bounds)]
        if not any(map(len, parts)):
            continue
        curve = {"mean": [rounded(part.mean()) if len(part) else None for part in parts]}
        if is_thinned:
            curve["low"] = [rounded(part.min()) if len(part) else None for part in parts]
            curve["high"] = [rounded(part.max()) if len(part) else None for part in parts]
        curves[name] = curve
    middle = [float(table.steps[a:b].mean()) for a, b in itertools.pairwise(bounds)]
    return {
        "at": [round(step) for step in middle],
        "curves": curves,
        "lines": len(table.steps),
        "marks": _marks(table, workdir),
        "images_per_step": _images_per_step(config),
    }


def rounded(value: float) -> float:
    """Returns a value with five digits, which is what a curve can show."""
    return float(f"{value:.5g}")


def _marks(table: Table, workdir: Path) -> list[dict[str, Any]]:
    """Returns the newest of what happened at a step: alarms, skipped steps, resumes."""
    found = []
    for entry in journal(workdir, health.ALARMS):
        found.append({"step": entry["step"], "kind": "alarm", "text": str(entry.get("alarm"))})
    for entry in journal(workdir, nonfinite.FILE):
        wrong = ", ".join(map(str, entry.get("not_finite", [])))
        found.append({"step": entry["step"], "kind": "skipped", "text": f"not finite: {wrong}"})
    restart = table.columns.get(_RESTART)
    if restart is not None and len(restart):
        # Restoring takes time, so this total has grown on the first line after a resume.
        before = np.concatenate([[0.0], np.maximum.accumulate(np.nan_to_num(restart))[:-1]])
        for step in table.steps[restart > before]:
            found.append({"step": int(step), "kind": "resumed", "text": "resumed before this line"})
    return sorted(found, key=lambda mark: mark["step"])[-_MARKS:]


def _images_per_step(config: Config) -> int:
    """Returns how many real images a step consumes; those of one batch if the task is not here."""
    try:
        batches = tasks.build(config).batches_per_step
    except Failure:
        batches = 1
    return config.train.batch_size * batches
