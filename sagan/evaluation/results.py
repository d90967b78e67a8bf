"""Scores on disk and on the terminal: `eval/<step>.json`, tables, events, a plot over steps.

`eval/<step>.json` has the scores that the run's config asks for, or the newest if it has none of
those; scores of other protocols are in `eval/others/<step>.<hash of the fingerprint>.json`.
"""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sagan.config import Config, ConfigError
from sagan.evaluation import protocols
from sagan.evaluation.metrics import find
from sagan.files.atomic import replace_text
from sagan.runs import logs

FOLDER = "eval"
OTHERS = "others"  # out of the way of whoever lists the steps that were scored


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
    if not _is_result(result):
        raise ConfigError(f"{path}: not a result of `sagan eval` (no metrics, protocol)")
    return result


def _is_result(value: Any) -> bool:
    """Says whether all is there that is read of a result without looking first."""
    if not isinstance(value, dict):
        return False
    metrics, protocol = value.get("metrics"), value.get("protocol")
    if not isinstance(metrics, dict) or not isinstance(protocol, dict):
        return False
    numbers = all(isinstance(number, int | float) for number in metrics.values())
    resizer = protocol.get("resizer", 0)  # it may be null, but not absent
    named = resizer is None or isinstance(resizer, str)
    return numbers and named and isinstance(protocol.get("num_fake"), int)


def filed(workdir: Path, step: int, protocol: Mapping[str, Any]) -> dict[str, Any] | None:
    """Finds the scores that a step has under this very fingerprint; None if there are none."""
    protocol = _as_stored(protocol)
    for path in (path_of(workdir, step), _beside(workdir, step, protocol)):
        with contextlib.suppress(ConfigError):
            result = read(path)
            if result["protocol"] == protocol:
                return result
    return None


def _as_stored(protocol: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(protocol))


def _beside(workdir: Path, step: int, protocol: Mapping[str, Any]) -> Path:
    """Names the file of scores that are not in `eval/<step>.json`."""
    text = json.dumps(protocol, sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:8]
    return workdir / FOLDER / OTHERS / f"{step}.{short}.json"


def _is_own(result: Mapping[str, Any]) -> bool:
    """Says whether the run's config asks for these scores; older files do not tell."""
    return bool(result.get("own", True))


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


def _curves(workdir: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Gathers what was measured with each score, by step, of all that compares with the newest.

    The newest that is the run's own, where it has such.
    """
    found = []
    for path in sorted((workdir / FOLDER / OTHERS).glob("*.json")):
        step = path.name.partition(".")[0]
        if step.isdigit():
            with contextlib.suppress(ConfigError):
                found.append((int(step), read(path)))
    found = sorted([*found, *read_all(workdir).items()], key=lambda pair: pair[0])
    curves = {}
    for key in dict.fromkeys(key for _, result in found for key in result["metrics"]):
        having = [(step, result) for step, result in found if key in result["metrics"]]
        newest = max(having, key=lambda pair: (_is_own(pair[1]), pair[0]))[1]["protocol"]
        curves[key] = {
            step: result["metrics"]
            for step, result in having
            if not protocols.differences(result["protocol"], newest)
        }
    return curves


def write(workdir: Path, result: Mapping[str, Any]) -> list[str]:
    """Files one checkpoint's scores, with those it already has under the same fingerprint.

    Scores that are the run's own (`own`) keep their place: it is by them that the best checkpoint
    is kept, however often the step is scored in another way.

    Returns: lines about scores of several fingerprints, and where they are.
    """
    step, protocol = result["step"], _as_stored(result["protocol"])
    path, beside = path_of(workdir, step), _beside(workdir, step, protocol)
    merged, notes = _merged(filed(workdir, step, protocol), result), []
    old = None
    with contextlib.suppress(ConfigError):  # none yet, or damaged: it is replaced
        old = read(path)
    if old is not None and old["protocol"] != protocol:
        if _is_own(old) and not _is_own(merged):
            _put(beside, merged)
            place = f"{OTHERS}/{beside.name}"
            return [f"{path.name} keeps the run's own {scores(old)}; this is in {place}"]
        aside = _beside(workdir, step, old["protocol"])
        _put(aside, old)
        place = f"{OTHERS}/{aside.name}"
        notes.append(f"{scores(old)}, of another protocol, moved from {path.name} to {place}")
    _put(path, merged)
    beside.unlink(missing_ok=True)
    return notes


def _merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """Adds new scores to those of the same fingerprint."""
    if old is None:
        return dict(new)
    earlier = [text for text in old.get("warnings", []) if text not in new["warnings"]]
    return {
        **new,
        "own": _is_own(old) or _is_own(new),
        "metrics": {**old["metrics"], **new["metrics"]},
        "warnings": [*earlier, *new["warnings"]],
    }


def _put(path: Path, result: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(result, indent=2) + "\n")


def scores(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={number(value)}" for key, value in result["metrics"].items())


def number(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:.0f}"


def best_step(workdir: Path, config: Config) -> int:
    """Finds the step with the best `eval.best_metric` among the results.

    Only results with the fingerprint of the newest one that is the run's own count, or of the
    newest at all if none is: others do not compare.

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
    own = [step for step, (_, result) in keyed.items() if _is_own(result)]
    key, newest = keyed[max(own or keyed)]
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
    logs.write_events(events, step, {f"eval/{key}": value for key, value in values.items()})
    events.close()


def plot(workdir: Path) -> Path | None:
    """Draws every metric against the step into `eval/metrics.png`; None if nothing was scored.

    A curve has scores of one protocol: others do not compare.
    """
    from matplotlib.figure import Figure  # no pyplot: nothing global, no display

    curves = _curves(workdir)
    keys = [key for key in curves if not key.endswith(("_sd", "_worst"))]
    if not keys:
        return None
    columns = min(len(keys), 3)
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.2 * rows), layout="constrained")
    for place, key in enumerate(keys, start=1):
        steps = list(curves[key])
        values = [m[key] for m in curves[key].values()]
        spread = [m.get(f"{key}_seed_sd", 0.0) for m in curves[key].values()]
        axes = figure.add_subplot(rows, columns, place)
        axes.errorbar(steps, values, yerr=spread if any(spread) else None, marker="o", ms=4, lw=1)
        axes.set_title(key)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    path = workdir / FOLDER / "metrics.png"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # a watcher and a trainer both draw
    try:
        figure.savefig(temporary, format="png", dpi=100)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path
