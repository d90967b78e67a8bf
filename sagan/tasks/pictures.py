"""What `sagan sample` writes for a sampler of any task: image files, `.npz`, sheets, animations."""

import dataclasses
import inspect
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation import require_truncation
from sagan.files import images
from sagan.files.progress import Progress
from sagan.tasks.sample_folder import SampleFolder, require_writable

_MIN_SIDE_PX = 64  # smaller images are enlarged in sheets, so that a person can see them
_PORTION = 128  # images drawn and written at a time
_FRAME_MS = 40  # of an animation
_ANIMATIONS = (".gif", ".webp")
_FILE_SUFFIXES = (*images.SUFFIXES, *_ANIMATIONS, ".mp4", ".npz", ".npy", ".zip")  # mean a file


class End(NamedTuple):
    """One end of an interpolation: an image's index, and its class if the ends differ in it."""

    index: int
    name: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """Which pictures are wanted, and where.

    Attributes:
      out: a folder for single images. A sheet may also have a name ending in `.png`, and an
        interpolation one ending in `.gif` or `.webp`, which makes an animation.
      classes: numbers or names; None: all classes in turn.
      num: number of images of each of `classes`; without `classes`, number of images in all.
      truncation: factor of the latents in (0, 1]; None means 1.
      temperature: above 0, of samplers that have one; None means 1.
      complete: a folder, a zip, or PRESET:SPLIT; draw `num` of its images, and beside each some
        that begin like it.
      enlarge: as `complete`; draw each beside its small copy and some enlargements of that.
      grid: write one picture with all images.
      npz: write one file with the arrays `arr_0`, uint8 (N, S, S, 3), and `arr_1`, labels (N,), as
        the evaluator of guided-diffusion reads them.
      interpolate: draw the images between two. If both ends name a class, there is one row, which
        also changes from one class to the other; otherwise one for each class.
      steps: number of images of an interpolation, its ends included.
      attention: query points as (row, column) fractions of the image, or () for three usual ones;
        draw the attention map of each.
      folders: write single images into one folder for each class, named like the class.
      overwrite: remove the images that an earlier call wrote to `out`.

    Raises: ConfigError for numbers or a name that cannot be used.
    """

    out: Path
    classes: tuple[str, ...] | None = None
    num: int = 64
    seed: int = 0
    truncation: float | None = None
    temperature: float | None = None
    complete: str | None = None
    enlarge: str | None = None
    grid: bool = False
    npz: bool = False
    interpolate: tuple[End, End] | None = None
    steps: int = 9
    attention: tuple[tuple[float, float], ...] | None = None
    folders: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        require(self.num >= 1, f"--num {self.num}; allowed: >= 1")
        require(self.steps >= 2, f"--steps {self.steps}; allowed: >= 2")
        require_truncation(self.truncation)
        warm = self.temperature is None or 0 < self.temperature < math.inf
        require(warm, f"--temperature {self.temperature}; allowed: above 0")
        for name in ("complete", "enlarge"):
            require(
                getattr(self, name) is None or self.classes is None,
                f"--{name} takes the classes of its images; --classes does not go with it",
            )
        _require_32_bits(self.seed, "--seed")
        if self.interpolate is not None:
            for end in self.interpolate:
                _require_32_bits(end.index, "--interpolate")
            named = [end.name is not None for end in self.interpolate]
            require(
                not any(named) or (all(named) and self.classes is None),
                "--interpolate names a class at one end only, or --classes is given as well; "
                "allowed: INDEX:CLASS INDEX:CLASS without --classes, or INDEX INDEX",
            )
        require(
            not (self.folders and self.single_file),
            "--folders is about single images; it goes with neither --grid, --npz, --interpolate, "
            "--attention, --complete nor --enlarge",
        )
        self._check_out()

    @property
    def single_file(self) -> bool:
        """Whether one file is written, not one for each image."""
        drawings = (self.interpolate, self.attention, self.complete, self.enlarge)
        sheet = self.grid or any(each is not None for each in drawings)
        return sheet or self.npz

    def _check_out(self) -> None:
        """Refuses a file name where a folder of that name would be made."""
        suffix = self.out.suffix.lower()
        if suffix not in _FILE_SUFFIXES or self.out.is_dir():
            return
        if not self.single_file:
            raise ConfigError(
                f"--out {self.out}; allowed: a folder for PNG files, with --grid a .png, or with "
                "--npz an .npz"
            )
        allowed = (".npz",) if self.npz else (".png",)
        allowed += _ANIMATIONS if self.interpolate is not None else ()
        require(
            suffix in allowed,
            f"--out {self.out}; allowed: a name ending in {' or '.join(allowed)}, or a folder",
        )


def write(sampler: Any, request: Request) -> list[Path]:
    """Draws and writes what a request asks for; returns the paths of the files.

    Args:
      sampler: of any task, as `Task.load_sampler` returns it. `interpolate` and `attention_sheet`
        are methods that it may lack.

    Raises: ConfigError for an unknown class, for what the sampler cannot draw, or for a place that
      cannot be written to or holds other images.
    """
    if request.temperature is not None:
        takes = "temperature" in inspect.signature(sampler.sample).parameters
        require(takes, f"--temperature {request.temperature}: this run's samples have none")
    if request.complete is not None:
        _require_able(sampler, "completion_sheet", "completions")
    if request.enlarge is not None:
        _require_able(sampler, "enlargement_sheet", "enlargements")
    labels, indices = sampler.chosen(request.classes, request.num)
    ends = _ends(sampler, request, labels)
    out = request.out
    if not request.single_file:
        return _write_singles(sampler, request, labels, indices)
    is_file = out.suffix.lower() in _FILE_SUFFIXES and not out.is_dir()
    require_writable(out.parent if is_file else out)
    path = out if is_file else out / f"{sampler.step}.{'npz' if request.npz else 'png'}"
    about = _about(sampler, request)
    if ends:
        how = _how(request) | {"steps": request.steps}
        rows = [sampler.interpolate(*pair, **how) for pair in ends]
        if path.suffix.lower() in _ANIMATIONS:
            _save_animation(path, rows)
        else:
            sheet = images.grid(np.concatenate(rows), request.steps, scale=_scale(rows[0]))
            images.save(path, sheet, about)
        return [path]
    if request.complete is not None:
        sheet = sampler.completion_sheet(request.complete, request.num, **_how(request))
        images.save(path, sheet, about)
        return [path]
    if request.enlarge is not None:
        sheet = sampler.enlargement_sheet(request.enlarge, request.num, **_how(request))
        images.save(path, sheet, about)
        return [path]
    if request.attention is not None:
        _require_able(sampler, "attention_sheet", "attention maps")
        sheet = sampler.attention_sheet(labels, indices, request.attention, **_how(request))
        images.save(path, sheet, about)
        return [path]
    drawn = np.concatenate(list(_portions(sampler, request, labels, indices)))
    if request.npz:
        found = {} if labels is None else {"arr_1": labels.astype(np.int64)}
        np.savez(path, arr_0=drawn, **found)
    else:
        columns = request.num if request.classes else math.ceil(math.sqrt(len(drawn)))
        images.save(path, images.grid(drawn, columns, scale=_scale(drawn)), about)
    return [path]


def _write_singles(
    sampler: Any, request: Request, labels: Int[np.ndarray, " N"] | None, indices: np.ndarray
) -> list[Path]:
    require(
        not (request.folders and labels is None),
        "--folders makes one folder for each class, but this model is unconditional",
    )
    about = _about(sampler, request)
    folder = SampleFolder(request.out, sampler.class_names, by_class=request.folders)
    files = folder.begin(labels, indices, about, overwrite=request.overwrite)
    done = 0
    for drawn in _portions(sampler, request, labels, indices):
        for image in drawn:
            own = {"index": int(indices[done])}
            if labels is not None:
                label = int(labels[done])
                own |= {"label": label, "class": sampler.class_names[label]}
            images.save(files[done], image, about | own)
            done += 1
    return files


def _portions(sampler: Any, request: Request, labels: Any, indices: np.ndarray) -> Any:
    progress = Progress("sample", len(indices))
    for begin in range(0, len(indices), _PORTION):
        where = slice(begin, begin + _PORTION)
        part = None if labels is None else labels[where]
        yield sampler.sample(labels=part, indices=indices[where], **_how(request))
        progress.update(min(begin + _PORTION, len(indices)))
    progress.close()


def _ends(
    sampler: Any, request: Request, labels: np.ndarray | None
) -> list[tuple[tuple[int, int | None], ...]]:
    """Returns index and label of both ends of each interpolation; an empty list if none is asked.

    There is one for each class; or a single one if the ends have classes, or there are none.
    """
    if request.interpolate is None:
        return []
    _require_able(sampler, "interpolate", "interpolations")
    a, b = request.interpolate
    if a.name is not None and b.name is not None:
        return [((a.index, sampler.find([a.name])[0]), (b.index, sampler.find([b.name])[0]))]
    classes = [None] if labels is None else list(dict.fromkeys(labels.tolist()))
    return [((a.index, label), (b.index, label)) for label in classes]


def _save_animation(path: Path, rows: list[UInt8[np.ndarray, "steps S S 3"]]) -> None:
    """Writes a frame for each step; its images stand side by side."""
    scale = _scale(rows[0])
    frames = [images.grid(frame, len(rows), scale=scale) for frame in np.stack(rows, axis=1)]
    first, *others = map(Image.fromarray, frames)
    options: Any = {"lossless": True} if path.suffix.lower() == ".webp" else {}
    first.save(path, save_all=True, append_images=others, duration=_FRAME_MS, loop=0, **options)


def _require_able(sampler: Any, method: str, what: str) -> None:
    require(hasattr(sampler, method), f"this run's samples have no {what}")


def _how(request: Request) -> dict[str, Any]:
    how: dict[str, Any] = {"seed": request.seed, "truncation": request.truncation}
    return how if request.temperature is None else how | {"temperature": request.temperature}


def _about(sampler: Any, request: Request) -> dict[str, Any]:
    return {"step": sampler.step} | _how(request)


def _require_32_bits(number: int, name: str) -> None:
    require(0 <= number < 2**32, f"{name} {number}; allowed: 0 … {2**32 - 1}")


def _scale(drawn: np.ndarray) -> int:
    return max(1, math.ceil(_MIN_SIDE_PX / drawn.shape[1]))
