"""Results on the terminal, as TensorBoard events, and as a plot over steps."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sagan.evaluation import RealScores, protocol, results
from sagan.files import tables
from sagan.files.atomic import replacing
from sagan.runs import trackers


def show(
    rows: Iterable[Mapping[str, Any]],
    *,
    as_json: bool,
    name: str = "step",
    real: RealScores | None = None,
) -> None:
    """Prints results: a table followed by warnings, or one JSON object per line.

    Args:
      name: the head of the first column.
      real: the last row of the table.
    """
    rows = list(rows)
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    named = [(str(row.get("images", row["step"])), row["metrics"]) for row in rows]
    if real is not None:
        named.append((real.name, real.metrics))
    print(score_table(named, name))
    if real is not None:
        print(real.about)
    for warning in dict.fromkeys(w for row in rows for w in row.get("warnings", [])):
        print(f"warning: {warning}")


def score_table(rows: Sequence[tuple[str, Mapping[str, Any]]], name: str) -> str:
    """Returns a table of named rows of scores, with one column per score.

    A cell is a number, or something else whose text is shown.
    """
    columns = list(dict.fromkeys(key for _, values in rows for key in values))
    cells = [
        [row, *(_cell(values[c]) if c in values else "-" for c in columns)] for row, values in rows
    ]
    return tables.table(cells, [name, *columns], right_aligned=True)


def _cell(value: Any) -> str:
    return results.number(value) if isinstance(value, (int, float)) else str(value)


def write_events(workdir: Path, step: int, values: Mapping[str, float]) -> None:
    """Adds a checkpoint's scores to TensorBoard events in `eval/`."""
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    events = EventFileWriter(str(workdir / results.FOLDER))
    trackers.write_events(events, step, {f"eval/{key}": value for key, value in values.items()})
    events.close()


class Curve(NamedTuple):
    """One score over steps.

    Attributes:
      protocol: the fingerprint of its newest value.
      scores: all scores of the comparable results that have it, by step.
    """

    protocol: Mapping[str, Any]
    scores: dict[int, dict[str, float]]


def curves(workdir: Path) -> dict[str, Curve]:
    """Returns each score over steps.

    A result is comparable if it was measured like the newest of the run's own results or, if none
    of those has this score, like the newest result of all.
    """
    pairs = [*results.read_others(workdir), *results.read_all(workdir).items()]
    found = sorted(pairs, key=lambda pair: pair[0])
    by_key = {}
    for key in dict.fromkeys(key for _, result in found for key in result["metrics"]):
        having = [(step, result) for step, result in found if key in result["metrics"]]
        _, newest = max(having, key=lambda pair: (results.is_own(pair[1]), pair[0]))
        alike = {
            step: result["metrics"]
            for step, result in having
            if not protocol.differences(result["protocol"], newest["protocol"])
        }
        by_key[key] = Curve(newest["protocol"], alike)
    return by_key


def plot(workdir: Path) -> Path | None:
    """Draws every score against the step into `eval/metrics.png`; None if nothing was scored."""
    from matplotlib.figure import Figure  # not pyplot, which needs a display and global state

    by_key = curves(workdir)
    keys = [key for key in by_key if not key.endswith(("_sd", "_worst"))]
    if not keys:
        return None
    columns = min(len(keys), 3)
    rows = -(-len(keys) // columns)
    width, height = 4.5 * columns, 3.2 * rows  # inches, as the margins, which matplotlib divides
    figure = Figure(figsize=(width, height))
    figure.subplots_adjust(
        left=0.7 / width,
        right=1 - 0.2 / width,
        bottom=0.55 / height,
        top=1 - 0.4 / height,
        wspace=0.25,
        hspace=0.42,
    )
    for place, key in enumerate(keys, start=1):
        steps, found = list(by_key[key].scores), by_key[key].scores.values()
        values = [scores[key] for scores in found]
        spread = [scores.get(f"{key}_seed_sd", 0.0) for scores in found]
        axes = figure.add_subplot(rows, columns, place)
        axes.errorbar(steps, values, yerr=spread if any(spread) else None, marker="o", ms=4, lw=1)
        axes.set_title(key)
        axes.set_xlabel("step")
        axes.locator_params(axis="x", nbins=5)
        axes.grid(alpha=0.3)
    path = workdir / results.FOLDER / "metrics.png"
    with replacing(path) as file:
        figure.savefig(file, format="png", dpi=100)
    return path
