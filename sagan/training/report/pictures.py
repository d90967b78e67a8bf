"""Pictures for the page: sheets of samples over steps, and images with where networks look."""

import base64
import functools
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import Float
from PIL import Image

from sagan import tasks
from sagan.config import Config
from sagan.config.exit_codes import Failure
from sagan.files import images
from sagan.runs import checkpoint
from sagan.tasks.exhibits import Exhibit, Look

_SHEETS = 100  # of a run, at most
_SHEETS_BYTES = 5_000_000  # of all runs together, as text
_SHEET_PX = 900  # longer sides are reduced
_EXHIBITS = 6  # of all runs together
_PLACES = 16  # along a side: finer maps and queries are averaged


def of(workdir: Path, config: Config, num_runs: int, linked_from: Path | None) -> dict[str, Any]:
    """Returns the sheets and exhibits of a run, for a page that shows so many runs.

    Args:
      linked_from: the folder of a page that refers to the sheets' files; None: it holds them.
    """
    found = _sheets(workdir)
    if linked_from is None:
        sheets = _embedded(found, _SHEETS_BYTES // num_runs)
    else:
        place = Path(os.path.relpath(workdir.resolve(), linked_from.resolve())) / "samples"
        sheets = [
            {"step": step, "src": quote(os.fsencode((place / path.name).as_posix()))}
            for step, path in found
        ]
    exhibits, preview, note = _of_newest(
        workdir.resolve(), config, max(1, _EXHIBITS // num_runs), bool(sheets)
    )
    return {
        "sheets": sheets or preview,
        "sheets_in_all": len(found),
        "exhibits": exhibits,
        "exhibits_note": note,
    }


def _sheets(workdir: Path) -> list[tuple[int, Path]]:
    paths = (workdir / "samples").glob("*.png")
    return sorted((int(path.stem), path) for path in paths if path.stem.isdecimal())


def _embedded(found: Sequence[tuple[int, Path]], budget: int) -> list[dict[str, Any]]:
    """Returns as many sheets as fit into a number of characters, evenly spread over the steps."""
    count = min(_SHEETS, len(found))
    if found:  # the others are about as large as the last one
        count = min(count, 1 + budget // (1 + len(_webp_of(found[-1][1]))))
    while True:
        chosen = {round(n) for n in np.linspace(len(found) - 1, 0, count)} if count else set()
        sheets = []
        for step, path in (found[n] for n in sorted(chosen)):
            src = _webp_of(path)
            sheets += [{"step": step, "src": src}] if src else []
        size = sum(len(sheet["src"]) for sheet in sheets)
        if size <= budget or count <= 1:
            return sheets
        count = max(1, int(count * budget / size * 0.98))


def _webp_of(path: Path) -> str:
    """Returns a sheet as an address that holds it; empty if it is just being written."""
    return _webp(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=1000)
def _webp(path: Path, changed: int) -> str:
    del changed  # a part of the cache's key
    try:
        image = images.decode(path)
    except Failure:
        return ""
    image.thumbnail((_SHEET_PX, _SHEET_PX), Image.Resampling.LANCZOS)
    return _address(image, quality=80, method=2)


def _address(image: Image.Image, **how: Any) -> str:
    """Returns an image as WebP in a `data:` address."""
    file = io.BytesIO()
    image.save(file, format="WEBP", **how)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()


def _of_newest(
    workdir: Path, config: Config, count: int, has_sheets: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], str]:
    """Returns what the newest checkpoint shows, a sheet if the run has none, and why not."""
    try:
        step = checkpoint.pick(workdir, None)
        return *_opened(workdir, config, step, count, has_sheets), ""
    except Failure as error:  # such as no checkpoint yet, or images that have moved
        return [], [], str(error)


@functools.lru_cache(maxsize=16)
def _opened(
    workdir: Path, config: Config, step: int, count: int, has_sheets: bool
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    task = tasks.build(config)
    sampler: Any = task.load_sampler(workdir, step)
    shows = getattr(sampler, "exhibits", None)
    exhibits = [] if shows is None else [packed(one, step) for one in shows(count)]
    if has_sheets:
        return exhibits, []
    picture = Image.fromarray(task.preview(sampler.variables, step).picture)
    picture.thumbnail((_SHEET_PX, _SHEET_PX), Image.Resampling.LANCZOS)
    return exhibits, [{"step": step, "src": _address(picture, quality=80)}]


def packed(exhibit: Exhibit, step: int) -> dict[str, Any]:
    image = Image.fromarray(exhibit.image)
    return {
        "title": exhibit.title,
        "step": step,
        "image": _address(image, lossless=True),
        "looks": [_look(look) for look in exhibit.looks],
    }


def _look(look: Look) -> dict[str, Any]:
    """Returns the maps as bytes, each scaled so that its greatest value is 255."""
    maps = np.asarray(look.maps, np.float32)
    count, side = maps.shape[:2]
    if side > _PLACES and side % _PLACES == 0:
        maps = maps.reshape(count, _PLACES, side // _PLACES, _PLACES, -1).mean((2, 4))
    queries = round(count**0.5)
    if not look.words and queries > _PLACES and queries % _PLACES == 0:
        part = queries // _PLACES
        maps = maps.reshape(_PLACES, part, _PLACES, part, *maps.shape[1:]).mean((1, 3))
        maps = maps.reshape(_PLACES**2, *maps.shape[2:])
    greatest = maps.max((1, 2), keepdims=True)
    scaled: Float[np.ndarray, "Q k k"] = 255 * maps / np.maximum(greatest, 1e-20)
    return {
        "name": look.name,
        "note": look.note,
        "words": list(look.words),
        "side": maps.shape[1],
        "maps": base64.b64encode(np.round(scaled).astype(np.uint8).tobytes()).decode(),
    }
