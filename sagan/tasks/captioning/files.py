"""Captions of image files: what `sagan caption` writes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sagan.config import ConfigError
from sagan.files import images, places
from sagan.files.atomic import replace_text
from sagan.files.progress import Progress
from sagan.tasks.captioning import pictures
from sagan.tasks.captioning.sampler import CaptionSampler
from sagan.tasks.sample_folder import require_writable

_PORTION = 512  # images that are in memory at a time


def find(paths: Sequence[Path], out: Path) -> list[Path]:
    """Returns files as they are, and for each folder the images in it, sorted.

    Args:
      out: where pictures are to be written; those that lie there from an earlier call, in a folder
        inside one of `paths`, are left out.

    Raises: ConfigError if there is nothing of that name, a folder has no images, or an image would
      be overwritten.
    """
    found: list[Path] = []
    out = out.expanduser().resolve()
    for path in map(places.local, paths):
        if path.is_dir():
            ours = out if path.resolve() in out.parents else None
            inside = sorted(
                p
                for p in path.rglob("*")
                if p.suffix.lower() in images.SUFFIXES
                and p.is_file()
                and (ours is None or ours not in p.resolve().parents)
            )
            if not inside:
                raise ConfigError(f"--images {path}: no images ({', '.join(images.SUFFIXES)})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise ConfigError(f"--images {path}: no such file or folder")
    written = {out / picture_name(number) for number in range(len(found))}
    lost = next((path for path in found if path.resolve() in written), None)
    if lost is not None:
        raise ConfigError(f"--out {out}: {lost} would be overwritten; allowed: another folder")
    return found


def picture_name(number: int) -> str:
    """Returns the name of the picture of an image's panels."""
    return f"{number}.png"


def write(
    sampler: CaptionSampler, paths: Sequence[Path], out: Path, *, beam: int, attention: bool
) -> list[dict[str, Any]]:
    """Writes `captions.json` and, if asked for, a picture `N.png` of the panels of each image.

    Images become square as in training (`data.fit`).

    Returns: what captions.json holds: for each image its file, its caption, the logarithm of the
      caption's probability and, with `attention`, its picture.

    Raises: ConfigError if an image cannot be read, or `out` cannot be written to.
    """
    size, how = sampler.image_size, sampler.config.data.fit
    require_writable(out)
    rows: list[dict[str, Any]] = []
    line = Progress("caption", len(paths), enabled=len(paths) > _PORTION)
    for begin in range(0, len(paths), _PORTION):
        part = paths[begin : begin + _PORTION]
        shown = np.stack([images.fit(images.decode(path), size, how) for path in part])
        found = sampler.caption(shown, beam)
        for n, path in enumerate(part):
            log_p = round(found.log_p[n], 4)
            row = {"image": str(path), "caption": found.texts[n], "log_p": log_p}
            if attention:
                picture = pictures.panels(shown[n], found.words[n], found.attention[n])
                row["attention"] = picture_name(begin + n)
                images.save(out / row["attention"], picture, row | {"step": sampler.step})
            rows.append(row)
        line.update(begin + len(part))
    line.close()
    about = {"step": sampler.step, "beam": beam, "captions": rows}
    replace_text(out / "captions.json", json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    return rows
