"""Captions of image files: what `sagan caption` writes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sagan.config import ConfigError
from sagan.files import images, places
from sagan.files.atomic import replace_text
from sagan.tasks.captioning import pictures
from sagan.tasks.captioning.sampler import CaptionSampler


def find(paths: Sequence[Path]) -> list[Path]:
    """Returns files as they are, and for each folder the images in it, sorted.

    Raises: ConfigError if there is nothing of that name, or a folder has no images.
    """
    found: list[Path] = []
    for path in map(places.local, paths):
        if path.is_dir():
            inside = sorted(
                p for p in path.rglob("*") if p.suffix.lower() in images.SUFFIXES and p.is_file()
            )
            if not inside:
                raise ConfigError(f"--images {path}: no images ({', '.join(images.SUFFIXES)})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise ConfigError(f"--images {path}: no such file or folder")
    return found


def write(
    sampler: CaptionSampler, paths: Sequence[Path], out: Path, *, beam: int, attention: bool
) -> list[dict[str, Any]]:
    """Writes `captions.json` and, if asked for, a picture `N.png` of the panels of each image.

    Images become square as in training (`data.fit`).

    Returns: what captions.json holds: for each image its file, its caption, the logarithm of the
      caption's probability and, with `attention`, its picture.

    Raises: ConfigError if an image cannot be read.
    """
    size, how = sampler.image_size, sampler.config.data.fit
    shown = np.stack([images.fit(images.decode(path), size, how) for path in paths])
    found = sampler.caption(shown, beam)
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, path in enumerate(paths):
        row: dict[str, Any] = {
            "image": str(path),
            "caption": found.texts[number],
            "log_p": round(found.log_p[number], 4),
        }
        if attention:
            picture = pictures.panels(shown[number], found.words[number], found.attention[number])
            row["attention"] = f"{number}.png"
            images.save(out / row["attention"], picture, row | {"step": sampler.step})
        rows.append(row)
    about = {"step": sampler.step, "beam": beam, "captions": rows}
    replace_text(out / "captions.json", json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    return rows
