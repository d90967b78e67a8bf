"""The results of a run in files: `eval/<step>.json`.

`eval/<step>.json` has the scores that the run's config asks for, or if there are none of those, the
newest. Scores measured in other ways are in `eval/others/<step>.<hash of the fingerprint>.json`.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sagan.config import Config, ConfigError
from sagan.evaluation import protocol
from sagan.evaluation.metrics import find
from sagan.files.atomic import replace_text

FOLDER = "eval"
OTHERS = "others"  # a folder of its own, so that a listing of `eval/` shows one file per step


def path_of(workdir: Path, step: int) -> Path:
    """Returns the path of a step's main result."""
    return workdir / FOLDER / f"{step}.json"


def read(path: Path) -> dict[str, Any]:
    """Reads one result.

    Raises: ConfigError if the file is not there, or is not a result.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a result of `sagan eval` ({error})") from error
    if not _is_result(result):
        raise ConfigError(f"{path}: not a result of `sagan eval` (no metrics, protocol)")
    return result


def _is_result(value: Any) -> bool:
    """Returns whether all fields that are read without further checks are there."""
    if not isinstance(value, dict):
        return False
    metrics, measured = value.get("metrics"), value.get("protocol")
    if not isinstance(metrics, dict) or not isinstance(measured, dict):
        return False
    numbers = all(isinstance(number, int | float) for number in metrics.values())
    resizer = measured.get("resizer", 0)  # it may be null, but not absent
    named = resizer is None or isinstance(resizer, str)
    return numbers and named and isinstance(measured.get("num_fake"), int)


def filed(workdir: Path, step: int, fingerprint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the result of a step with exactly this fingerprint; None if there is none."""
    fingerprint = _as_json(fingerprint)
    for path in (path_of(workdir, step), _other_path(workdir, step, fingerprint)):
        with contextlib.suppress(ConfigError):
            result = read(path)
            if result["protocol"] == fingerprint:
                return result
    return None


def _as_json(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a fingerprint as it is read back from a file: with lists for tuples."""
    return json.loads(json.dumps(fingerprint))


def _other_path(workdir: Path, step: int, fingerprint: Mapping[str, Any]) -> Path:
    """Returns the path of a result that is not the step's main one."""
    text = json.dumps(fingerprint, sort_keys=True)
    short = hashlib.sha256(text.encode()).hexdigest()[:8]
    return workdir / FOLDER / OTHERS / f"{step}.{short}.json"


def is_own(result: Mapping[str, Any]) -> bool:
    """Returns whether the run's config asks for scores measured like these.

    Results of older versions do not record this, and count as the run's own.
    """
    return bool(result.get("own", True))


def read_all(workdir: Path) -> dict[int, dict[str, Any]]:
    """Reads the main results of a run, by step, ascending; other files are passed over."""
    paths = (workdir / FOLDER).glob("*.json")
    return dict(sorted(_read_those(path for path in paths if path.stem.isdigit())))


def read_others(workdir: Path) -> list[tuple[int, dict[str, Any]]]:
    """Reads the results of a run that are not main ones, as pairs of step and result."""
    return _read_those(sorted((workdir / FOLDER / OTHERS).glob("*.json")))


def _read_those(paths: Iterable[Path]) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for path in paths:
        step = path.name.partition(".")[0]
        if step.isdigit():
            with contextlib.suppress(ConfigError):
                found.append((int(step), read(path)))
    return found


def write(workdir: Path, result: Mapping[str, Any]) -> list[str]:
    """Stores one checkpoint's scores, together with those that have the same fingerprint.

    The run's own scores keep their place in `eval/<step>.json`, however often the step is scored
    in other ways, because the best checkpoint is chosen by them.

    Returns: lines that say where results with other fingerprints are stored.
    """
    step, fingerprint = result["step"], _as_json(result["protocol"])
    path, beside = path_of(workdir, step), _other_path(workdir, step, fingerprint)
    merged, notes = _merged(filed(workdir, step, fingerprint), result), []
    old = None
    with contextlib.suppress(ConfigError):  # there is none, or it is damaged and is replaced
        old = read(path)
    if old is not None and old["protocol"] != fingerprint:
        if is_own(old) and not is_own(merged):
            _put(beside, merged)
            place = f"{OTHERS}/{beside.name}"
            return [f"{path.name} keeps the run's own {scores(old)}; this is in {place}"]
        aside = _other_path(workdir, step, old["protocol"])
        _put(aside, old)
        place = f"{OTHERS}/{aside.name}"
        notes.append(f"{scores(old)}, of another protocol, moved from {path.name} to {place}")
    _put(path, merged)
    beside.unlink(missing_ok=True)
    return notes


def _merged(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    """Adds new scores to those with the same fingerprint."""
    if old is None:
        return dict(new)
    earlier = [text for text in old.get("warnings", []) if text not in new["warnings"]]
    return {
        **new,
        "own": is_own(old) or is_own(new),
        "metrics": {**old["metrics"], **new["metrics"]},
        "warnings": [*earlier, *new["warnings"]],
    }


def _put(path: Path, result: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, json.dumps(result, indent=2) + "\n")


def scores(result: Mapping[str, Any]) -> str:
    """Returns the scores of a result as one line."""
    return ", ".join(f"{key}={number(value)}" for key, value in result["metrics"].items())


def number(value: float) -> str:
    """Returns a score with four digits, or without decimals from 1000 on."""
    return f"{value:.4g}" if abs(value) < 1000 or not math.isfinite(value) else f"{value:.0f}"


def best_step(workdir: Path, config: Config) -> int:
    """Returns the step with the best `eval.best_metric` among the main results.

    Considers only results that were measured like the newest of the run's own ones or, if there
    are none, like the newest result of all. A score that is NaN or infinite counts as not
    measured.

    Raises: ConfigError if no step has such a score.
    """
    name = config.eval.best_metric
    found = read_all(workdir)
    keyed = {step: (_main_key(name, result), result) for step, result in found.items()}
    keyed = {
        step: (key, result)
        for step, (key, result) in keyed.items()
        if key is not None and math.isfinite(result["metrics"][key])
    }
    if not keyed:
        measured = sorted({key for result in found.values() for key in result["metrics"]})
        raise ConfigError(
            f"no {name} (eval.best_metric) among {workdir / FOLDER}/*.json; "
            f"measured: {', '.join(measured) or 'nothing'}"
        )
    own = [step for step, (_, result) in keyed.items() if is_own(result)]
    key, newest = keyed[max(own or keyed)]
    values = {
        step: result["metrics"][key]
        for step, (other, result) in keyed.items()
        if other == key and not protocol.differences(result["protocol"], newest["protocol"])
    }
    higher = newest.get("higher_is_better")  # where a task has metrics of its own
    if higher is None:
        higher = find([name])[0].higher_is_better
    pick = max if higher else min
    return pick(values, key=lambda step: values[step])


def _main_key(name: str, result: Mapping[str, Any]) -> str | None:
    """Returns the key of a metric's main value in a result; None if it was not measured."""
    if name in result["metrics"]:  # a score that is not of a number of drawn images
        return name
    measured = result["protocol"]
    key = protocol.key(name, measured["num_fake"], resizer=measured["resizer"] or "tf")
    if key in result["metrics"]:
        return key
    parts = [k for k in result["metrics"] if k.startswith(key + "_")]
    return parts[0] if parts else None
