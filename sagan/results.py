"""Scores on disk and on the terminal: `eval/<step>.json`, tables, events, a plot over steps."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sagan import protocols, writers
from sagan.config import Config, ConfigError
from sagan.metrics import find

FOLDER = "eval"


def path_of(workdir: Path, step: int) -> Path:
    return workdir / FOLDER / f"{step}.json"


def read(path: Path) -> dict[str, Any]:
    """Reads one result.

    Raises: ConfigError if the file is not there or no result.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a result of `sagan eval` ({error})") from error
    if not isinstance(result, dict) or not {"metrics", "protocol"} <= set(result):
        raise ConfigError(f"{path}: not a result of `sagan eval` (no metrics, protocol)")
    return result


def read_all(workdir: Path) -> dict[int, dict[str, Any]]:
    """Reads all results of a run, by step, ascending; files that are no results are passed over."""
    found = {}
    for path in (workdir / FOLDER).glob("*.json"):
        if path.stem.isdigit():
            try:
                found[int(path.stem)] = read(path)
            except ConfigError:
                continue
    return dict(sorted(found.items()))


def write(workdir: Path, result: Mapping[str, Any]) -> list[str]:
    """Files one checkpoint's scores, beside those it already has under the same fingerprint.

    Returns: lines about scores that had another fingerprint and are replaced.
    """
    path = path_of(workdir, result["step"])
    path.parent.mkdir(parents=True, exist_ok=True)
    notes, merged = [], dict(result)
    if path.exists():
        try:
            old = read(path)
        except ConfigError:
            old = {"metrics": {}, "protocol": {}}
        if old["protocol"] == result["protocol"]:
            merged["metrics"] = old["metrics"] | result["metrics"]
            earlier = [w for w in old.get("warnings", []) if w not in result["warnings"]]
            merged["warnings"] = earlier + list(result["warnings"])
        elif old["metrics"]:
            notes.append(f"{path.name} replaces {scores(old)}, measured with another protocol")
    writers.replace_text(path, json.dumps(merged, indent=2) + "\n")
    return notes


def scores(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={number(value)}" for key, value in result["metrics"].items())


def number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:.0f}"


def best_step(workdir: Path, config: Config) -> int:
    """Finds the step with the best `eval.best_metric` among the results.

    Only results with the newest one's fingerprint count: others do not compare.

    Raises: ConfigError if nothing was scored with that metric.
    """
    name = config.eval.best_metric
    (metric,) = find([name])
    results = read_all(workdir)
    keyed = {
        step: (_main_key(name, result), result)
        for step, result in results.items()
        if _main_key(name, result)
    }
    if not keyed:
        measured = sorted({key for result in results.values() for key in result["metrics"]})
        raise ConfigError(
            f"no {name} (eval.best_metric) among {workdir / FOLDER}/*.json; "
            f"measured: {', '.join(measured) or 'nothing'}"
        )
    key, newest = keyed[max(keyed)]
    values = {
        step: result["metrics"][key]
        for step, (other, result) in keyed.items()
        if other == key and not protocols.differences(result["protocol"], newest["protocol"])
    }
    pick = max if metric.HIGHER_IS_BETTER else min
    return pick(values, key=lambda step: values[step])


def _main_key(name: str, result: Mapping[str, Any]) -> str | None:
    protocol = result["protocol"]
    key = protocols.key(name, protocol["num_fake"], resizer=protocol["resizer"] or "tf")
    if key in result["metrics"]:
        return key
    parts = [k for k in result["metrics"] if k.startswith(key + "_")]
    return parts[0] if parts else None


def table(rows: Sequence[tuple[str, Mapping[str, float]]], head: str) -> str:
    """Sets scores out in columns, one row each."""
    columns = list(dict.fromkeys(key for _, values in rows for key in values))
    lines = [[head, *columns]]
    for name, values in rows:
        lines.append([name, *(number(values[c]) if c in values else "-" for c in columns)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def write_events(workdir: Path, step: int, values: Mapping[str, float]) -> None:
    """Adds a checkpoint's scores to TensorBoard events of their own, beside the JSON files."""
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    events = EventFileWriter(str(workdir / FOLDER))
    writers.write_events(events, step, {f"eval/{key}": value for key, value in values.items()})
    events.close()


def plot(workdir: Path) -> Path | None:
    """Draws every metric against the step into `eval/metrics.png`; None if nothing was scored."""
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display

    results = read_all(workdir)
    hidden = ("_sd", "_worst")
    keys = list(dict.fromkeys(k for r in results.values() for k in r["metrics"]))
    keys = [key for key in keys if not key.endswith(hidden)]
    if not keys:
        return None
    columns = min(len(keys), 3)
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.2 * rows), layout="constrained")
    for place, key in enumerate(keys, start=1):
        steps = [step for step, result in results.items() if key in result["metrics"]]
        values = [results[step]["metrics"][key] for step in steps]
        spread = [results[step]["metrics"].get(f"{key}_seed_sd", 0.0) for step in steps]
        axes = figure.add_subplot(rows, columns, place)
        axes.errorbar(steps, values, yerr=spread if any(spread) else None, marker="o", ms=4, lw=1)
        axes.set_title(key)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    path = workdir / FOLDER / "metrics.png"
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, format="png", dpi=100)
    temporary.replace(path)
    return path
