"""A checkpoint's manifest: size and SHA-256 of each file, by which damage is found.

Orbax restores a file with a flipped byte without an error. The manifest is written into the
checkpoint's temporary folder, so the rename that commits the checkpoint commits the manifest too.
A committed checkpoint without a manifest is therefore damaged.
"""

import errno
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.files.atomic import replace_text
from sagan.files.hashing import file_sha256

NAME = "manifest.json"
COMMITTED = "_CHECKPOINT_METADATA"  # Orbax's file, whose presence marks a complete checkpoint
# Orbax writes the time of the commit into these, after the manifest was made.
_WRITTEN_LATER = {COMMITTED, "commit_success.txt"}
_MAX_SHOWN = 3


def write(folder: Path) -> None:
    """Lists all files under `folder`, a checkpoint, in its `manifest.json`."""
    files = {
        str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and str(path.relative_to(folder)) not in {NAME, *_WRITTEN_LATER}
    }
    # There is no newline at the end, so that a file without its last byte is not valid JSON.
    replace_text(folder / NAME, json.dumps({"files": files}, indent=1))


def damage(folder: Path, items: Sequence[str] | None = None) -> str:
    """Describes the first files of a checkpoint that differ from its manifest; empty if none does.

    Args:
      items: check the files under these sub-folders only.
    """
    try:
        files = json.loads((folder / NAME).read_text(encoding="utf-8"))["files"]
        json.loads((folder / COMMITTED).read_text(encoding="utf-8"))
        wrong = [
            f"{name}: {problem}"
            for name, said in files.items()
            if (items is None or name.split("/")[0] in items)
            and (problem := _difference(folder / name, said))
        ]
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{NAME} or {COMMITTED} is not valid JSON"
    more = f" and {len(wrong) - _MAX_SHOWN} more files" if len(wrong) > _MAX_SHOWN else ""
    return "; ".join(wrong[:_MAX_SHOWN]) + more


def _difference(path: Path, said: dict[str, Any]) -> str:
    try:
        size = path.stat().st_size
        if size != said["bytes"]:
            return f"{size:,} bytes, but {said['bytes']:,} were written"
        return "" if file_sha256(path) == said["sha256"] else "its sha256 is not the one written"
    except OSError as error:
        if error.errno == errno.ENOENT:
            return "missing"
        if error.errno == errno.EIO:
            return "cannot be read (input/output error)"
        raise  # such as a missing permission, which says nothing about the content
