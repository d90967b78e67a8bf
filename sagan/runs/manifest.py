"""A checkpoint's manifest: size and sha256 of each file, to tell whether they are as written.

Orbax restores a file with a flipped byte without a word. The manifest is written into the
checkpoint's temporary folder, so the rename that commits the checkpoint commits it too: a
committed checkpoint without one is damaged.
"""

import errno
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.files.atomic import replace_text

NAME = "manifest.json"
# Orbax stamps these two with the time of the commit, after the manifest was made.
_STAMPED = {"_CHECKPOINT_METADATA", "commit_success.txt"}
_SHOWN = 3


def write(folder: Path) -> None:
    """Lists all files under `folder` in its `manifest.json`."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and str(path.relative_to(folder)) not in {NAME, *_STAMPED}
    }
    # No newline at the end: without its last byte it is no JSON.
    replace_text(folder / NAME, json.dumps({"files": files}, indent=1))


def damage(folder: Path, items: Sequence[str] | None = None) -> str:
    """Says in which files `folder` is not what its manifest says; empty if it is whole.

    Args:
      items: look only at what lies under these sub-folders.
    """
    try:
        files = json.loads((folder / NAME).read_text(encoding="utf-8"))["files"]
        json.loads((folder / "_CHECKPOINT_METADATA").read_text(encoding="utf-8"))
        wrong = [
            f"{name}: {problem}"
            for name, said in files.items()
            if (items is None or name.split("/")[0] in items)
            and (problem := _difference(folder / name, said))
        ]
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{NAME} or _CHECKPOINT_METADATA is garbled"
    more = f" and {len(wrong) - _SHOWN} files more" if len(wrong) > _SHOWN else ""
    return "; ".join(wrong[:_SHOWN]) + more


def _difference(path: Path, said: dict[str, Any]) -> str:
    try:
        size = path.stat().st_size
        if size != said["bytes"]:
            return f"{size:,} bytes, written {said['bytes']:,}"
        return "" if _sha256(path) == said["sha256"] else "its sha256 is not the one written"
    except OSError as error:
        if error.errno == errno.ENOENT:
            return "missing"
        if error.errno == errno.EIO:
            return "cannot be read (input/output error)"
        raise  # no permission, for one: nothing is known of the file then


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
