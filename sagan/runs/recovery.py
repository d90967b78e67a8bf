"""Finding the checkpoint to resume from, and setting aside those that cannot be used."""

import sys
from pathlib import Path

from sagan.runs import checkpoint, manifest

FOLDER = "checkpoints-quarantine"  # not in Orbax's folder, where Orbax would count them as steps


def resume(workdir: Path) -> int:
    """Returns the newest undamaged step, or 0 if there are no checkpoints.

    Only the process that owns the work directory may call this. Newer steps that are damaged or
    incomplete are moved to `checkpoints-quarantine`, since Orbax would count them as steps.
    Nothing is deleted.

    Raises: DamagedError if there are checkpoints and all are damaged; nothing is moved then.
    """
    folder = workdir / checkpoint.FOLDER
    named = [p for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []
    newer, damaged, chosen = [], [], 0
    for path in sorted(named, key=lambda p: int(p.name), reverse=True):
        parts = (manifest.COMMITTED, manifest.NAME, "state")
        if not any((path / part).exists() for part in parts):
            newer.append((path, "not a checkpoint"))
        elif wrong := manifest.damage(path):
            damaged.append(path.name)
            newer.append((path, f"damaged: {wrong}"))
        else:
            chosen = int(path.name)
            break
    if damaged and not chosen:
        whys = "; ".join(f"{path.name} is {why}" for path, why in newer)
        raise checkpoint.DamagedError(
            f"{folder}: every checkpoint is damaged ({whys}); nothing was moved. Restore one "
            "from a copy, or start anew with another --workdir"
        )
    for path, why in newer:
        _set_aside(workdir, path, why)
    return chosen


def _set_aside(workdir: Path, path: Path, why: str) -> None:
    quarantine = workdir / FOLDER
    quarantine.mkdir(exist_ok=True)
    target, number = quarantine / path.name, 1
    while target.exists():
        number += 1
        target = quarantine / f"{path.name}.{number}"
    path.rename(target)
    print(f"sagan: {path} is {why}; moved to {target}", file=sys.stderr)
