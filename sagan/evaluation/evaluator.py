"""Metrics, a feature network and a reference, made once and ready to score images."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sagan.config import ConfigError
from sagan.data.image_sets import FromSource
from sagan.evaluation import protocol, reference
from sagan.evaluation.features import Extractor
from sagan.evaluation.fold import Images, fold, merged_states
from sagan.evaluation.metrics import Metric, State
from sagan.evaluation.reference_files import Reference
from sagan.evaluation.requirements import require_outputs, require_possible, require_same_size


class Evaluator:
    """Scores sets of images, each in one pass.

    Args:
      reference: the real images' features, computed with `extractor` for `metrics`.
      batch_size: images per call of the network, on each device.
      image_size: of the images to score, in px.

    Raises: ConfigError if the network lacks an output, or the reference has another image size.
    """

    def __init__(
        self,
        metrics: Sequence[Metric],
        extractor: Extractor,
        reference: Reference,
        *,
        batch_size: int,
        image_size: int,
    ):
        require_outputs(extractor, metrics)
        if reference.image_size is not None:
            require_same_size(image_size, reference.name, reference.image_size)
        self.reference = reference
        self._metrics, self._extractor = metrics, extractor
        self._batch_size, self._image_size = batch_size, image_size

    def check(self, num_images: int, labelled: bool) -> None:
        """Raises: ConfigError if so many images, with classes or without, cannot be scored."""
        real_labelled = len(self.reference.class_counts) > 0
        for metric in self._metrics:
            both = labelled and (real_labelled or not metric.uses_real)
            require_possible([metric], num_images, self.reference.num_images, both)

    def keys(self, num_images: int) -> list[str]:
        """Returns the names that scores of so many images begin with, one per metric."""
        resizer = self._extractor.fingerprint.get("resizer", "")
        return [protocol.key(m.name, num_images, resizer=resizer) for m in self._metrics]

    def protocol(self, num_images: int, how_made: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the fingerprint that scores of such images are stored with."""
        return {
            **{"weights_sha256": None, "resizer": None},
            **self._extractor.fingerprint,
            "reference": self.reference.name,
            "reference_sha256": self.reference.sha256,
            "num_real": self.reference.num_images,
            "num_fake": num_images,
            "image_size": self._image_size,
            **how_made,
        }

    def score(self, images: Images, progress: str) -> tuple[dict[str, float], list[str]]:
        """Scores images in one pass; every process gets the same values.

        Returns: scores by name, and warnings.

        Raises: ConfigError if these images cannot be scored.
        """
        self.check(len(images), images.num_classes is not None)
        states = fold(
            images,
            self._metrics,
            self._extractor,
            batch_size=self._batch_size,
            progress=progress,
        )
        states = merged_states(states, self._metrics)
        scores, warnings = {}, []
        for metric, key in zip(self._metrics, self.keys(len(images)), strict=True):
            scores |= self._compute(metric, key, states[metric.state_name])
            warnings += self._warnings(metric, len(images))
        return scores, warnings

    def score_real(self, images: FromSource, num_fake: int) -> dict[str, float]:
        """Scores real images by what the cache knows of them, or will know then.

        Args:
          num_fake: how many generated images they are shown beside, which names the scores.

        Returns: scores by name, without those that need more images, or classes.
        """
        named = [
            (metric, key)
            for metric, key in zip(self._metrics, self.keys(num_fake), strict=True)
            if len(images) >= metric.min_images and (images.num_classes or not metric.uses_labels)
        ]
        metrics = [metric for metric, _ in named]
        size = self._batch_size
        made = reference.of(images, metrics, self._extractor, batch_size=size, is_scored=True)
        scores = {}
        for metric, key in named:
            try:
                scores |= self._compute(metric, key, made.states[metric.state_name])
            except ConfigError as error:  # the checkpoint's own scores must not be lost by this
                print(f"sagan: {images.name}: {error}", file=sys.stderr)
        return scores

    def _compute(self, metric: Metric, key: str, state: State) -> dict[str, float]:
        real = self.reference.states[metric.state_name] if metric.uses_real else None
        try:
            values = metric.compute(state, real)
        except ValueError as error:
            raise ConfigError(f"metric {metric.name}: {error}") from error
        return {key + (f"_{part}" if part else ""): value for part, value in values.items()}

    def _warnings(self, metric: Metric, num_fake: int) -> list[str]:
        """Returns what a reader of the score must know; empty if nothing."""
        width = self._extractor.widths[metric.output]
        num_real = self.reference.num_images
        fewest = num_fake if num_real is None else min(num_fake, num_real)
        if not metric.biased_below_rank or fewest > width:
            return []
        return [
            f"{metric.name}: {fewest} images for {width} features; the covariance lacks rank and "
            "the distance is biased upwards: compare only at equal numbers of images"
        ]
