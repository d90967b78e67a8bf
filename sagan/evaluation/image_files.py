"""Scores images that come as files, or as a split of a preset's data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.config.fields import require
from sagan.data.image_sets import FromSource
from sagan.evaluation import ScoreSpec, features, presentation, protocol, reference
from sagan.evaluation import metrics as metrics_lib
from sagan.evaluation.evaluator import Evaluator
from sagan.evaluation.requirements import (
    require_known_classes,
    require_possible,
    require_same_size,
)
from sagan.parallel import processes


def usual_metrics(features: str) -> tuple[str, ...]:
    """Returns the metrics that are computed with a network if none are named."""
    return ("classifier_fid", "classifier_score") if features == "classifier" else ("fid", "is")


def score_images(
    images: FromSource,
    spec: ScoreSpec,
    *,
    overrides: Sequence[str] = (),
    image_size: int | None = None,
    as_json: bool = False,
    show: bool = True,
) -> dict[str, Any]:
    """Scores all of `images` and prints the result, unless `show` is False.

    Args:
      images: from `reference.open_images`.
      spec: which scores. `reference` is required; `num_images`, `seeds` and `truncation`, which are
        about generated images, are ignored.
      overrides: `section.field=value` for a preset that is named as the reference.
      image_size: px to which a reference that is a folder is cropped and resized; None: as it is.

    Returns: `images` (their name), `metrics` (scores by name), `protocol` and `warnings`.

    Raises: ConfigError for images that cannot be read, or that do not fit the reference.
    """
    require(spec.reference is not None, "no reference; needed: DIR, PRESET:SPLIT or FILE.npz")
    text, size = str(spec.reference), images.image_size
    metrics = metrics_lib.find(spec.metrics)
    real: FromSource | Path
    if saved := reference.saved_file(spec):
        real = saved
    else:
        real = _open_real(text, overrides, image_size, size).part(spec.num_real)
        require_same_size(size, real.name, real.image_size)
        require_possible(metrics, len(images), len(real), images.num_classes is not None)
    extractor = features.load(
        spec.features,
        spec.weights,
        spec.resizer,
        lambda: reference.training_images(text, overrides, image_size or size),
    )
    made = reference.of(real, metrics, extractor, batch_size=spec.batch_size)
    evaluator = Evaluator(metrics, extractor, made, batch_size=spec.batch_size, image_size=size)
    if images.num_classes and any(metric.uses_labels for metric in metrics):
        require_known_classes(images.name, images.class_names, made.class_names)
        images = images.with_classes(made.class_names)
    scores, warnings = evaluator.score(images, images.name)
    result = {
        "step": None,
        "images": images.name,
        "metrics": scores,
        "protocol": evaluator.protocol(len(images), protocol.of_files()),
        "warnings": warnings,
    }
    if show and processes.is_main():
        presentation.show([result], as_json=as_json, name="images")
    return result


def _open_real(
    text: str, overrides: Sequence[str], image_size: int | None, fake_px: int
) -> FromSource:
    """Opens the reference; a preset's data is read at the size of the images that are scored."""
    is_place = reference.find_place(text) is not None
    size = image_size if is_place else image_size or fake_px
    return reference.open_images(text, overrides=overrides, image_size=size)
