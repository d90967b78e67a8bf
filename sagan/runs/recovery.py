"""Which checkpoint a run goes on from, and where those go that it cannot go on from."""

import sys
from pathlib import Path

from sagan.runs import checkpoint, manifest

FOLDER = "checkpoints-quarantine"  # beside Orbax's folder, so that it never counts what is here


def resume(workdir: Path) -> int:
    """Finds the newest whole checkpoint (0: there is none at all) and sets aside what is beyond it.

    For the process that owns the directory. What is damaged, or looks like a step and is none
    (Orbax would count it), moves to `checkpoints-quarantine`; nothing is deleted.

    Raises: DamagedError if there are checkpoints and none is whole; then nothing is moved.
    """
    folder = workdir / checkpoint.FOLDER
    named = [p for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []
    beyond, damaged, chosen = [], [], 0
    for path in sorted(named, key=lambda p: int(p.name), reverse=True):
        parts = (checkpoint.COMMITTED, manifest.NAME, "state")
        if not any((path / part).exists() for part in parts):
            beyond.append((path, "no checkpoint"))
        elif wrong := manifest.damage(path):
            damaged.append(path.name)
            beyond.append((path, f"damaged: {wrong}"))
        else:
            chosen = int(path.name)
            break
    if damaged and not chosen:
        whys = "; ".join(f"{path.name} is {why}" for path, why in beyond)
        raise checkpoint.DamagedError(
            f"{folder}: no checkpoint is whole ({whys}); nothing was moved. Restore one, or give "
            "another --workdir to start afresh"
        )
    for path, why in beyond:
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
