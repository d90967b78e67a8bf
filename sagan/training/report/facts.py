"""What a run is, how it stands, and the commands that go on from there."""

import functools
import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sagan import tasks
from sagan.config import Config, ConfigError, meanings, presets
from sagan.evaluation import results
from sagan.runs import checkpoint, lock, logs, versions
from sagan.training import health, nonfinite
from sagan.training.phase import Phase

_LOCK_SECONDS = 600  # after which a lock of another machine counts as left behind
_PHASES = {
    Phase.STEPPING: "steps",
    Phase.READING: "waiting for images",
    Phase.COMPILING: "compiling and start",
    Phase.SAMPLING: "samples",
    Phase.SCORING: "scores",
    Phase.SAVING: "checkpoints",
    Phase.RESTORING: "repeated after restarts",
}


def of(workdir: Path, config: Config, last: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what the page says about a run in words and single numbers.

    Args:
      last: the newest line of scalars; empty if there is none.
    """
    there = checkpoint.steps(workdir)
    step = int(max([last.get("step", 0), *there]))
    known = {k: v for k, v in last.items() if isinstance(v, (int, float)) and math.isfinite(v)}
    base, changed = _changes(config)
    return {
        "name": workdir.resolve().name,
        "place": str(workdir),
        "task": config.task,
        "seed": config.seed,
        "step": step,
        "steps": config.train.steps,
        "state": _state(workdir, config, step, last),
        "preset": base,
        "changes": changed,
        "best": _best(workdir, config),
        "last": known,
        "time": [[name, known.get(f"time/{p.value}_seconds", 0)] for p, name in _PHASES.items()],
        "facts": [["checkpoints", ", ".join(map(str, there)) or "none"], *_versions(workdir)],
        "commands": _commands(workdir, config, base, changed),
    }


def is_running(workdir: Path, config: Config) -> bool:
    """Returns whether a training holds the work directory."""
    return lock.is_held(workdir, max(_LOCK_SECONDS, config.guard.lock_seconds))


def journal(workdir: Path, name: str) -> list[dict[str, Any]]:
    """Reads a journal of rare events; an empty list if there is none."""
    try:
        found = json.loads((workdir / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    entries = found if isinstance(found, list) else []
    return [e for e in entries if isinstance(e, dict) and isinstance(e.get("step"), int)]


def _state(workdir: Path, config: Config, step: int, last: Mapping[str, Any]) -> str:
    if is_running(workdir, config):
        return "running"
    if not (workdir / logs.METRICS).exists() and checkpoint.steps(workdir):
        return "imported"  # every training has begun that file
    if step >= config.train.steps:
        return "finished"
    if len(journal(workdir, nonfinite.FILE)) > config.guard.skip_steps:
        return "diverged"
    collapsed = last.get("guard/alarms") and journal(workdir, health.ALARMS)
    return "collapsed" if collapsed else "stopped"


def _changes(config: Config) -> tuple[str, list[list[str]]]:
    """Returns the preset that a config is nearest to, and `[key, value, the preset's]` of others.

    What a preset leaves to the data is no difference.
    """
    found = []
    for name in presets.preset_names():
        base = _preset(name)
        if base and base.task == config.task and base.model.name == config.model.name:
            found.append((name != config.name, name, base))
    if not found:
        return "", []
    sides = [(_differences(base, config), other, name) for other, name, base in found]
    changed, _, name = min(sides, key=lambda side: (len(side[0]), side[1], side[2]))
    return name, changed


@functools.cache  # since a page of many runs, or of one that is watched, needs each many times
def _preset(name: str) -> Config | None:
    """Returns a preset; None if it does not load, so that no run can have been started from it."""
    try:
        return presets.preset(name)
    except ConfigError:
        return None


def _differences(base: Config, config: Config) -> list[list[str]]:
    values, usual = (
        {m.key: m.value for _, _, fields in meanings.sections(c) for m in fields}
        for c in (config, base)
    )
    return [
        [key, value, usual.get(key, "")]
        for key, value in values.items()
        if value != usual.get(key) and usual.get(key) != "data"
    ]


def _best(workdir: Path, config: Config) -> dict[str, Any] | None:
    """Returns the best checkpoint's scores with their protocol; else the newest's; else None."""
    found = results.read_all(workdir)
    if not found:
        return None
    try:
        step, why = results.best_step(workdir, config), f"best {config.eval.best_metric}"
    except ConfigError:
        step, why = max(found), "newest"
    result = found[step]
    return {
        "step": step,
        "why": why if len(found) > 1 else "",
        "scores": [[key, results.number(value)] for key, value in result["metrics"].items()],
        "protocol": _protocol(result["protocol"]),
        "warnings": [str(text) for text in result.get("warnings") or []],
    }


def _protocol(measured: dict[str, Any]) -> str:
    words = [str(measured.get("features") or "no network")]
    words.append(f"{measured['num_fake']:,} images")
    if measured.get("reference"):
        number = measured.get("num_real")
        count = f"{number:,} of " if isinstance(number, int) else ""
        words.append(f"against {count}{measured['reference']}")
    if measured.get("resizer") not in (None, "none", ""):
        words.append(f"{measured['resizer']} resize")
    return " · ".join(words)


def _versions(workdir: Path) -> list[list[str]]:
    try:
        found = json.loads((workdir / versions.NAME).read_text(encoding="utf-8"))
        return [[str(name), str(value)] for name, value in found.items()]
    except (OSError, ValueError, AttributeError):
        return []


def _commands(
    workdir: Path, config: Config, base: str, changed: list[list[str]]
) -> list[list[str]]:
    """Returns `[what, command]` of what can be done with the run."""
    place = shlex.quote(str(workdir))
    found = []
    if base:
        words = " ".join(shlex.quote(f"{key}={value}") for key, value, _ in changed)
        found.append(["resume", f"sagan train {base} {words} --workdir {place}".replace("  ", " ")])
    verb = tasks.verb_of(config)
    if verb == "caption":
        found.append(["caption", f"sagan caption {place} --images IMAGES --out captions"])
    else:
        found.append(["sample", f"sagan {verb} {place} --grid --out samples.png"])
    return [*found, ["score", f"sagan eval {place}"]]
