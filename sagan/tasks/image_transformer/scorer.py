"""Scores of an Image Transformer: bits per dimension, beside the scores of its samples."""

import dataclasses
import time
from typing import Any, NamedTuple

import numpy as np

from sagan.config import Config
from sagan.config.fields import require
from sagan.data.image_sets import FromSource
from sagan.evaluation import RealScores, ScoreSpec, reference
from sagan.evaluation import metrics as metrics_lib
from sagan.evaluation.fold import merged
from sagan.evaluation.image_scorer import ImageScorer
from sagan.evaluation.metrics import Batch, Spec
from sagan.files.progress import Progress
from sagan.parallel import processes
from sagan.tasks.image_transformer.checks import require_grey
from sagan.tasks.image_transformer.sampler import Sampler

BITS = "bits_per_dim"
_BATCH = 256  # images that are read at a time


class TransformerScorer:
    """Scores checkpoints; see `sagan.evaluation.Scorer`.

    Bits per dimension are those of all images of the data's held-out split, given their classes if
    the model is conditional, or of the reference that is asked for.

    Raises: ConfigError if data or networks cannot be opened, or the scores cannot be computed.
    """

    def __init__(self, spec: ScoreSpec, config: Config):
        self._spec, self._model = spec, config.model
        require(
            spec.truncation is None,
            f"truncation={spec.truncation}, but this task's samples have no latents",
        )
        names = [metric.name for metric in metrics_lib.find(spec.metrics)]
        others = tuple(name for name in names if name != BITS)
        model: Any = config.model
        require(
            not (others and model.low_resolution),
            f"metrics {', '.join(others)} need images that are drawn from nothing, but this model "
            f"enlarges small ones; allowed: {BITS}",
        )
        self._images: ImageScorer | None = None
        if others:
            how_made = {"quantisation": "levels", "batch_norm": "none"}
            how_made |= {"ema": bool(getattr(config.optim, "ema_decay", 0))}
            size, classes = model.image_size, model.num_classes
            part = dataclasses.replace(spec, metrics=others)
            self._images = ImageScorer(part, config.data, size, classes, how_made)
        self._unseen = _Unseen(spec, config) if BITS in names else None

    @property
    def spec(self) -> ScoreSpec:
        return self._spec

    def check(self) -> None:
        """Raises: ConfigError if the samples cannot be scored."""
        if self._images is not None:
            self._images.check()

    def keys(self) -> list[str]:
        """Returns the names that the scores begin with, one per metric."""
        of_images = [] if self._images is None else self._images.keys()
        return of_images + ([BITS] if self._unseen is not None else [])

    def protocol(self) -> dict[str, Any]:
        """Returns the fingerprint that scores are stored with."""
        fingerprint: dict[str, Any] = {"weights_sha256": None, "resizer": None, "num_fake": 0}
        if self._images is not None:
            fingerprint = self._images.protocol()
        return fingerprint | ({} if self._unseen is None else self._unseen.fingerprint)

    def score_real(self) -> RealScores | None:
        """Scores real held-out images by the scores of samples; None if there are none."""
        return None if self._images is None else self._images.score_real()

    def score(self, sampler: Sampler) -> dict[str, Any]:
        """Scores a checkpoint; all processes must call this. See `sagan.evaluation.Scorer`."""
        started = time.monotonic()
        result: dict[str, Any] = {"step": sampler.step, "metrics": {}, "warnings": []}
        if self._images is not None:
            result |= self._images.score(sampler)
        if self._unseen is not None:
            result["metrics"] = {BITS: self._unseen.score(sampler), **result["metrics"]}
        seconds = round(time.monotonic() - started, 3)
        return result | {"protocol": self.protocol(), "seconds": seconds}


class _Digest(NamedTuple):
    bits: np.ndarray


class _Unseen:
    """The images whose bits are counted.

    Attributes:
      fingerprint: the part of the protocol that says which, and how they are read.
    """

    def __init__(self, spec: ScoreSpec, config: Config):
        model: Any = config.model
        self._images = images = _opened(spec, config)
        require(
            model.num_classes is None or images.num_classes is not None,
            f"{BITS}: {images.name} has no classes, but the model predicts images from theirs",
        )
        self._labelled = model.num_classes is not None
        self._grey = model.channels == 1
        digest = np.zeros(32, np.uint8)
        for indices, pixels, labels in self._read("reading"):
            digest ^= reference.contents_of(indices, pixels, labels, 0).digest
        digest = merged(_Digest(digest), lambda a, b: _Digest(a.bits ^ b.bits)).bits
        self.fingerprint = {
            "bits_of": images.name,
            "bits_sha256": digest.tobytes().hex(),
            "bits_images": len(images),
            "levels": model.levels,
            "channels": model.channels,
        }

    def score(self, sampler: Sampler) -> float:
        """Returns the mean over all images. Each process reads a part of them."""
        (metric,) = metrics_lib.find([BITS])
        state = metric.accumulator.init(Spec(1, len(self._images)))
        for indices, pixels, labels in self._read(f"{BITS} step {sampler.step}"):
            bits = sampler.bits_per_dim(pixels, labels if self._labelled else None)
            state = metric.accumulator.update(state, Batch(bits[:, None], indices))
        return metric.compute(merged(state, metric.accumulator.merge), None)[""]

    def _read(self, progress: str) -> Any:
        """Yields this process's part of the images, as (positions, pixels, labels)."""
        first, stride, total = processes.index(), processes.count(), len(self._images)
        line = Progress(progress, total, enabled=processes.is_main() and total > _BATCH)
        for begin in range(first * _BATCH, total, stride * _BATCH):
            indices = np.arange(begin, min(begin + _BATCH, total))
            pixels, labels = self._images.read(indices)
            if self._grey:
                require_grey(pixels)
            yield indices, pixels, labels
            line.update(min(begin + stride * _BATCH, total))
        line.close()


def _opened(spec: ScoreSpec, config: Config) -> FromSource:
    """Opens the images that are asked for: the data's held-out split, unless the spec says more."""
    size = config.model.image_size
    training = reference.open_data(config.data, size)
    if spec.reference is None:
        split = training.held_out
        if split is None:
            require(False, f"{BITS}: {training.name} has no held-out split; give --reference")
        images = reference.open_data(config.data, size, split)
    else:
        require(
            reference.saved_file(spec) is None,
            f"{BITS}: {spec.reference} holds statistics; allowed: a folder, or PRESET:SPLIT",
        )
        settings = reference.settings_for(spec.reference, config.data)
        images = reference.open_images(spec.reference, overrides=settings, image_size=size)
    if images.num_classes is not None and config.model.num_classes is not None:
        images = images.with_classes(training.class_names)
    return images.part(spec.num_real)
