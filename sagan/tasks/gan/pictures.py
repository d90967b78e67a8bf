"""Pictures for `sagan sample`: single files, one grid, interpolations, attention maps."""

import dataclasses
import math
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from sagan.config import ConfigError
from sagan.evaluation import require_truncation
from sagan.files import images
from sagan.files.progress import Progress
from sagan.tasks.gan import attention_maps, generate
from sagan.tasks.gan.sampler import Sampler

_INTERPOLATION_STEPS = 9
_MIN_SIDE_PX = 64  # smaller images are enlarged in sheets, so that a person can see them
_FILE_SUFFIXES = (*images.SUFFIXES, ".gif", ".npz", ".npy", ".zip")  # of names that mean a file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Which pictures are wanted, and where.

    Attributes:
      out: a folder; for a single picture, also a file name ending in `.png`.
      classes: numbers or names; None: all classes in turn.
      num: number of images of each of `classes`; without `classes`, number of images in all.
      truncation: factor of the latents in (0, 1]; None means 1.
      grid: write one picture with all images.
      interpolate: two image indices; draw images between their latents, one row per class.
      attention: query points as (row, column) fractions of the image, or () for three usual ones;
        draw the attention map of each.

    Raises: ConfigError for numbers or a name that cannot be used.
    """

    out: Path
    classes: tuple[str, ...] | None = None
    num: int = 64
    seed: int = 0
    truncation: float | None = None
    grid: bool = False
    interpolate: tuple[int, int] | None = None
    attention: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if self.num < 1:
            raise ConfigError(f"--num {self.num}; allowed: >= 1")
        require_truncation(self.truncation)
        generate.require_seed(self.seed, "--seed")
        for index in self.interpolate or ():
            generate.require_seed(index, "--interpolate")
        self._check_out()

    def _check_out(self) -> None:
        """Refuses a file name where a folder of that name would be made."""
        suffix = self.out.suffix.lower()
        if suffix not in _FILE_SUFFIXES or self.out.is_dir():
            return
        sheet = self.grid or self.interpolate is not None or self.attention is not None
        if not sheet:
            raise ConfigError(
                f"--out {self.out}; allowed: a folder for PNG files, or with --grid a .png"
            )
        if suffix != ".png":
            raise ConfigError(f"--out {self.out}; allowed: a name ending in .png, or a folder")


def write(sampler: Sampler, request: Request) -> list[Path]:
    """Draws and writes the pictures of a request; returns their paths.

    Raises: ConfigError for an unknown class, attention maps of a generator without attention, or a
      place that cannot be written to.
    """
    labels, indices = _plan(sampler, request)
    _require_writable(request.out.parent if _is_file(request.out) else request.out)
    if request.attention is not None:
        return [_write_sheet(sampler, request, _attention(sampler, request, labels, indices))]
    if request.interpolate is not None:
        return [_write_sheet(sampler, request, _interpolation(sampler, request, labels))]
    if request.grid:
        drawn = sampler.sample(
            labels=labels, indices=indices, seed=request.seed, truncation=request.truncation
        )
        columns = request.num if request.classes else math.ceil(math.sqrt(len(drawn)))
        return [_write_sheet(sampler, request, images.grid(drawn, columns, scale=_scale(drawn)))]
    return _write_singles(sampler, request, labels, indices)


def _plan(sampler: Sampler, request: Request) -> tuple[np.ndarray | None, np.ndarray]:
    """Returns label and index of every image: class by class, with indices 0 … num - 1 in each."""
    return sampler.chosen(request.classes, request.num)


def _write_singles(
    sampler: Sampler, request: Request, labels: np.ndarray | None, indices: np.ndarray
) -> list[Path]:
    progress = Progress("sample", len(indices))
    portion = generate.CHUNK * jax.local_device_count() * 4
    digits = len(str(len(sampler.class_names) - 1))
    files = []
    for begin in range(0, len(indices), portion):
        where = slice(begin, begin + portion)
        part = None if labels is None else labels[where]
        drawn = sampler.sample(
            labels=part, indices=indices[where], seed=request.seed, truncation=request.truncation
        )
        for number, image in enumerate(drawn, begin):
            label = None if labels is None else int(labels[number])
            prefix = "" if label is None else f"class{label:0{digits}}_"
            about = _about(sampler, request) | {"index": int(indices[number]), "class": label}
            files.append(request.out / f"{prefix}{indices[number]:06}.png")
            images.save(files[-1], image, about)
        progress.update(len(files))
    progress.close()
    return files


def _interpolation(sampler: Sampler, request: Request, labels: np.ndarray | None) -> np.ndarray:
    """Draws a row for each class (one if unconditional) along the great circle of two latents."""
    assert request.interpolate is not None
    begin, end = sampler.latents(np.array(request.interpolate), request.seed)
    row = np.stack([slerp(begin, end, t) for t in np.linspace(0, 1, _INTERPOLATION_STEPS)])
    classes = [None] if labels is None else list(dict.fromkeys(labels.tolist()))
    z = np.tile(row, (len(classes), 1))
    repeated = None if labels is None else np.repeat(np.array(classes, np.int32), len(row))
    drawn = images.quantize(sampler(z, repeated, truncation=request.truncation))
    return images.grid(drawn, _INTERPOLATION_STEPS, scale=_scale(drawn))


def slerp(
    begin: Float[np.ndarray, " Z"], end: Float[np.ndarray, " Z"], t: float
) -> Float[np.ndarray, " Z"]:
    """Goes from `begin` (t = 0) to `end` (t = 1) along a great circle; lengths are interpolated.

    Source: Shoemake 1985; for latents of GANs, White (arXiv:1609.04468).
    """
    norms = np.linalg.norm(begin), np.linalg.norm(end)
    angle = np.arccos(np.clip(np.dot(begin, end) / (norms[0] * norms[1]), -1, 1))
    if np.sin(angle) < 1e-6:
        return (1 - t) * begin + t * end
    a, b = np.sin((1 - t) * angle) / np.sin(angle), np.sin(t * angle) / np.sin(angle)
    length = (1 - t) * norms[0] + t * norms[1]
    return (length * (a * begin / norms[0] + b * end / norms[1])).astype(begin.dtype)


def _attention(
    sampler: Sampler, request: Request, labels: np.ndarray | None, indices: np.ndarray
) -> np.ndarray:
    how: Any = {"labels": labels, "indices": indices, "seed": request.seed}
    maps = sampler.attention(**how, truncation=request.truncation)
    drawn = sampler.sample(**how, truncation=request.truncation)
    return attention_maps.sheet(drawn, maps, request.attention or attention_maps.USUAL_POINTS)


def _write_sheet(sampler: Sampler, request: Request, sheet: np.ndarray) -> Path:
    out = request.out
    path = out if _is_file(out) else out / f"{sampler.step}.png"
    images.save(path, sheet, _about(sampler, request))
    return path


def _about(sampler: Sampler, request: Request) -> dict[str, Any]:
    return {"step": sampler.step, "seed": request.seed, "truncation": request.truncation}


def _require_writable(folder: Path) -> None:
    """Makes a folder. Raises: ConfigError if that fails, or no file can be made in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise ConfigError(
            f"--out {folder}: {error.strerror}; needed: a folder that can be written to"
        ) from error


def _is_file(out: Path) -> bool:
    return out.suffix.lower() == ".png" and not out.is_dir()


def _scale(drawn: np.ndarray) -> int:
    return max(1, math.ceil(_MIN_SIDE_PX / drawn.shape[1]))
