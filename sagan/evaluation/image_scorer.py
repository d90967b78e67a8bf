"""The `Scorer` of tasks whose samplers draw images."""

import functools
import time
from pathlib import Path
from typing import Any

import numpy as np

from sagan.config import DataConfig
from sagan.data.image_sets import FromSource
from sagan.evaluation import (
    HowMade,
    RealScores,
    Sampler,
    ScoreSpec,
    features,
    protocol,
    reference,
)
from sagan.evaluation import metrics as metrics_lib
from sagan.evaluation.evaluator import Evaluator
from sagan.evaluation.requirements import (
    require_known_classes,
    require_possible,
    require_same_numbers,
)


class ImageScorer:
    """Scores checkpoints that draw images.

    The constructor opens the reference and the feature network, so that an error is reported before
    hours of training.

    Args:
      data: what the run was trained on.
      image_size: px.
      num_classes: None if the model is unconditional.
      how_made: the task's part of the fingerprint: what changes images beside weights, seed and
        truncation.

    Attributes:
      reference: features of the real images.

    Raises: ConfigError if data or network cannot be opened, or if a metric needs more images,
      classes or outputs than there are.
    """

    def __init__(
        self,
        spec: ScoreSpec,
        data: DataConfig,
        image_size: int,
        num_classes: int | None,
        how_made: HowMade,
    ):
        self._spec, self._num_classes, self._how_made = spec, num_classes, how_made
        metrics = metrics_lib.find(spec.metrics)
        require_possible(metrics, spec.num_images, spec.num_real, num_classes is not None)

        @functools.cache  # with a saved reference, only a classifier needs these
        def training_images() -> FromSource:
            return reference.open_data(data, image_size)

        real: FromSource | Path
        self._data = data
        self._training: FromSource | None = None  # where the reference is the run's own data
        if saved := reference.saved_file(spec):
            real = saved
        elif spec.reference is None:
            self._training = training_images()
            real = self._training.part(spec.num_real)
        else:
            settings = reference.settings_for(spec.reference, data)
            real = reference.open_images(
                spec.reference, overrides=settings, image_size=image_size
            ).part(spec.num_real)
            if num_classes is not None and real.num_classes is not None:
                real = _renumbered(real, training_images())
        extractor = features.load(spec.features, spec.weights, spec.resizer, training_images)
        self.reference = reference.of(real, metrics, extractor, batch_size=spec.batch_size)
        self._evaluator = Evaluator(
            metrics,
            extractor,
            self.reference,
            batch_size=spec.batch_size,
            image_size=image_size,
        )
        self.check()

    @property
    def spec(self) -> ScoreSpec:
        return self._spec

    def check(self) -> None:
        """Raises: ConfigError if so many images, with classes or without, cannot be scored."""
        self._evaluator.check(self._spec.num_images, self._num_classes is not None)

    def keys(self) -> list[str]:
        """Returns the names that the scores begin with, one per metric, such as `fid50k`."""
        return self._evaluator.keys(self._spec.num_images)

    def protocol(self) -> dict[str, Any]:
        """Returns the fingerprint that scores are stored with."""
        made = protocol.of_samples(self._how_made, self._spec)
        return self._evaluator.protocol(self._spec.num_images, made)

    def score_real(self) -> RealScores | None:
        """Scores images of the data's own held-out split, no more than are generated.

        Returns None if there is no such split with the run's classes, or the reference is not the
        data that the run was trained on.
        """
        split = self._training.held_out if self._training is not None else None
        if self._training is None or split is None:
            return None
        images = reference.open_data(self._data, self._training.image_size, split)
        if not set(images.class_names) <= set(self._training.class_names):
            return None
        images = images.part(min(len(images), self._spec.num_images))
        images = images.with_classes(self._training.class_names)
        scores = self._evaluator.score_real(images, self._spec.num_images)
        about = f"real {split}: {len(images):,} real images that were not trained on"
        return RealScores(f"real {split}", scores, about)

    def labels(self, seed: int) -> np.ndarray | None:
        """Returns the class of each image to draw, in an order that `seed` decides.

        Classes are as frequent as among the real images, or equally frequent if those have no
        classes. Returns None if the model is unconditional.
        """
        if self._num_classes is None:
            return None
        counts = self.reference.class_counts
        if len(counts) != self._num_classes:
            counts = np.ones(self._num_classes)
        return protocol.balanced_labels(self._spec.num_images, counts, seed)

    def score(self, sampler: Sampler) -> dict[str, Any]:
        """Scores a checkpoint; all processes must call this.

        Returns: what `eval/<step>.json` holds. With several seeds, scores are means over them, and
          `<score>_seed_sd` is their standard deviation (divisor n - 1).

        Raises: ConfigError if the reference has other classes than the checkpoint.
        """
        started = time.monotonic()
        real, seeds = self.reference, self._spec.seeds
        if min(len(real.class_names), len(sampler.class_names)) > 1:
            require_same_numbers(f"the reference {real.name}", real.class_names,
                                 sampler.class_names)  # fmt: skip
        rows, warnings = [], []
        for seed in seeds:
            images = _Drawn(sampler, self.labels(seed), self._num_classes, self._spec, seed)
            part = f" seed {seed}" if len(seeds) > 1 else ""
            scores, warnings = self._evaluator.score(images, f"step {sampler.step}{part}")
            rows.append(scores)
        scores = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        if len(seeds) > 1:
            for key in rows[0]:
                scores[f"{key}_seed_sd"] = float(np.std([row[key] for row in rows], ddof=1))
        return {
            "step": sampler.step,
            "metrics": scores,
            "protocol": self.protocol(),
            "warnings": warnings,
            "seconds": round(time.monotonic() - started, 3),
        }


class _Drawn:
    """Images of a sampler as `fold` reads them: by position."""

    def __init__(self, sampler: Sampler, labels: np.ndarray | None, num_classes: int | None,
                 spec: ScoreSpec, seed: int):  # fmt: skip
        self.num_classes = num_classes
        self._sampler, self._labels, self._spec, self._seed = sampler, labels, spec, seed

    def __len__(self) -> int:
        return self._spec.num_images

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        labels = None if self._labels is None else self._labels[indices]
        truncation = self._spec.truncation
        pixels = self._sampler.sample(
            labels=labels, indices=indices, seed=self._seed, truncation=truncation
        )
        return pixels, labels


def _renumbered(images: FromSource, training: FromSource) -> FromSource:
    """Numbers the classes of a reference as the generator does, by name."""
    if training.num_classes is None:
        return images
    name = f"the reference {images.name}"
    require_known_classes(name, images.class_names, training.class_names)
    return images.with_classes(training.class_names)
