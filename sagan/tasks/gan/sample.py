"""Class-conditional images from a work directory: single files, grids, interpolations, maps."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from sagan.config import Config, ConfigError
from sagan.config import plugins as registry
from sagan.evaluation import require_truncation
from sagan.files import images
from sagan.files.progress import Progress
from sagan.runs import checkpoint
from sagan.tasks.gan import attention_maps, sampler

_INTERPOLATION_STEPS = 9
_PICTURE_SUFFIXES = (*images.SUFFIXES, ".gif", ".tif", ".tiff")  # of names that mean a file


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A checkpoint's averaged generator; image i depends on (seed, i, label) alone.

    Attributes:
      class_names: one per label; empty if unconditional.
    """

    config: Config
    step: int
    class_names: tuple[str, ...]
    variables: Any

    def __call__(
        self,
        labels: Int[np.ndarray, " N"] | None,
        indices: Int[np.ndarray, " N"],
        *,
        seed: int = 0,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "N S S 3"]:
        """Draws one image per index.

        Args:
          labels: classes, or None if the model is unconditional.
          truncation: psi in (0, 1]: latents are scaled by it, towards the mean image.
        """
        z = self.latents(indices, seed)
        psi = 1.0 if truncation is None else truncation
        return sampler.generate(self.config, self.variables, z, labels, truncation=psi)

    def latents(self, indices: Int[np.ndarray, " N"], seed: int) -> Float[np.ndarray, "N Z"]:
        """Draws the latent of each index."""
        return sampler.draw_latents(seed, indices, self.config.model.z_dim)

    def find(self, names: Sequence[str]) -> list[int]:
        """Turns class numbers or names into labels. Raises: ConfigError listing what there is."""
        if not self.class_names:
            raise ConfigError("this model is unconditional: it has no classes to choose from")
        found = []
        for name in map(str.strip, names):
            if name in self.class_names:
                found.append(self.class_names.index(name))
            elif name.isdecimal() and int(name) < len(self.class_names):
                found.append(int(name))
            else:
                known = ", ".join(self.class_names[:12])
                more = ", …" if len(self.class_names) > 12 else ""
                raise ConfigError(
                    f"no class {name!r}; allowed: 0 … {len(self.class_names) - 1}, or {known}{more}"
                )
        return found


def load(workdir: Path, step: int | None = None) -> Sampler:
    """Opens a checkpoint for sampling (the newest if `step` is None); needs no dataset.

    Raises: CheckpointError if there is no such checkpoint.
    """
    config = checkpoint.read_config(workdir)
    registry.load("models", config.model.name, field="model.name")
    step = checkpoint.pick(workdir, step)
    variables, about = checkpoint.restore_sampler(workdir, step, sampler.abstract(config))
    conditional = config.model.num_classes is not None
    return Sampler(config, step, tuple(about["class_names"]) if conditional else (), variables)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What `sagan sample` was asked for.

    Attributes:
      classes: numbers or names; None: all in turn.
      num: images of each class given; without `classes`, in all.
      interpolate: two image indices; each row goes from one latent to the other.
      attention: query points as (row, column) fractions of the image, or () for the usual three.
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
        sampler.require_seed(self.seed, "--seed")
        for index in self.interpolate or ():
            sampler.require_seed(index, "--interpolate")
        self._check_out()

    def _check_out(self) -> None:
        """Refuses the name of a picture where a folder would be made of it."""
        suffix = self.out.suffix.lower()
        if suffix not in _PICTURE_SUFFIXES or self.out.is_dir():
            return
        sheet = self.grid or self.interpolate is not None or self.attention is not None
        if not sheet:
            raise ConfigError(f"--out {self.out}; allowed: a folder, or with --grid a .png")
        if suffix != ".png":
            raise ConfigError(f"--out {self.out}; allowed: a name ending in .png, or a folder")


def run(workdir: Path, request: Request, *, step: int | None = None) -> list[Path]:
    """Writes what was asked for.

    Returns:
      The files written.

    Raises:
      ConfigError: no such class, or a picture asked for that the model cannot give.
      CheckpointError: no such checkpoint.
    """
    source = load(workdir, step)
    labels, indices = _plan(source, request)
    if request.attention is not None:
        return [_attention(source, request, labels, indices)]
    if request.interpolate is not None:
        return [_interpolation(source, request, labels)]
    if request.grid:
        drawn = source(labels, indices, seed=request.seed, truncation=request.truncation)
        columns = request.num if request.classes else math.ceil(math.sqrt(len(drawn)))
        return [_write_sheet(source, request, images.grid(drawn, columns, scale=_scale(drawn)))]
    return _singles(source, request, labels, indices)


def _plan(source: Sampler, request: Request) -> tuple[np.ndarray | None, np.ndarray]:
    """Gives the label and index of every image: class by class, index 0 … num - 1 in each."""
    if request.classes is not None:
        chosen = source.find(request.classes)
        labels = np.repeat(np.array(chosen, np.int32), request.num)
        return labels, np.tile(np.arange(request.num), len(chosen))
    indices = np.arange(request.num)
    if not source.class_names:
        return None, indices
    return (indices % len(source.class_names)).astype(np.int32), indices


def _singles(
    source: Sampler, request: Request, labels: np.ndarray | None, indices: np.ndarray
) -> list[Path]:
    _require_folder(request.out)
    progress = Progress("sample", len(indices))
    portion = sampler.CHUNK * jax.local_device_count() * 4
    files = []
    for begin in range(0, len(indices), portion):
        where = slice(begin, begin + portion)
        part = None if labels is None else labels[where]
        drawn = source(part, indices[where], seed=request.seed, truncation=request.truncation)
        for number, image in enumerate(drawn, begin):
            label = None if labels is None else int(labels[number])
            name = f"{indices[number]:06}.png"
            if label is not None:
                name = f"class{label:0{len(str(len(source.class_names) - 1))}}_{name}"
            about = _about(source, request) | {"index": int(indices[number]), "class": label}
            images.save(request.out / name, image, about)
            files.append(request.out / name)
        progress.update(len(files))
    progress.close()
    return files


def _interpolation(source: Sampler, request: Request, labels: np.ndarray | None) -> Path:
    """Draws a row per class (one if unconditional) along the great circle between two latents."""
    assert request.interpolate is not None
    begin, end = source.latents(np.array(request.interpolate), request.seed)
    row = np.stack([slerp(begin, end, t) for t in np.linspace(0, 1, _INTERPOLATION_STEPS)])
    rows: list[int | None] = [None]
    if labels is not None:
        rows = [int(label) for label in dict.fromkeys(labels.tolist())]
    z = np.tile(row, (len(rows), 1))
    classes = None if labels is None else np.repeat(np.array(rows, np.int32), len(row))
    psi = request.truncation or 1.0
    drawn = sampler.generate(source.config, source.variables, z, classes, truncation=psi)
    sheet = images.grid(drawn, _INTERPOLATION_STEPS, scale=_scale(drawn))
    return _write_sheet(source, request, sheet)


def slerp(
    begin: Float[np.ndarray, " Z"], end: Float[np.ndarray, " Z"], t: float
) -> Float[np.ndarray, " Z"]:
    """Goes from `begin` (t = 0) to `end` (t = 1) along a great circle, lengths interpolated.

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
    source: Sampler, request: Request, labels: np.ndarray | None, indices: np.ndarray
) -> Path:
    z = source.latents(indices, request.seed) * (request.truncation or 1.0)
    maps = sampler.attention_maps(source.config, source.variables, z, labels)
    if not maps:
        raise ConfigError("this generator has no attention layer (model.attention is empty)")
    drawn = sampler.generate(source.config, source.variables, z, labels)
    points = request.attention or attention_maps.USUAL_POINTS
    return _write_sheet(source, request, attention_maps.sheet(drawn, maps, points))


def _write_sheet(source: Sampler, request: Request, sheet: np.ndarray) -> Path:
    path = request.out
    if path.suffix.lower() != ".png":
        _require_folder(path)
        path = path / f"{source.step}.png"
    images.save(path, sheet, _about(source, request))
    return path


def _about(source: Sampler, request: Request) -> dict[str, Any]:
    return {"step": source.step, "seed": request.seed, "truncation": request.truncation}


def _require_folder(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise ConfigError(f"--out {path} is a file; a folder is wanted")


def _scale(drawn: np.ndarray) -> int:
    return max(1, math.ceil(64 / drawn.shape[1]))
