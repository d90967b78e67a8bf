"""What scores need. Each function raises a ConfigError before any work that could only fail."""

from collections.abc import Sequence

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation import metrics as metrics_lib
from sagan.evaluation.features import Extractor
from sagan.evaluation.metrics import Metric

_PREDICTIONS = "classifier_logits"  # the output with one value per class, in order of labels


def require_possible(
    metrics: Sequence[Metric], num_fake: int, num_real: int | None, labelled: bool
) -> None:
    """Requires enough images, and classes for metrics that read them.

    Args:
      num_real: None: not known yet.
      labelled: whether every side that the metrics read has classes.
    """
    for metric in metrics:
        sides = [("generated", num_fake)]
        if metric.uses_real and num_real is not None:
            sides.append(("real", num_real))
        for side, number in sides:
            require(
                number >= metric.min_images,
                f"metric {metric.name} needs at least {metric.min_images} {side} images, "
                f"got {number}",
            )
        require(
            labelled or not metric.uses_labels,
            f"metric {metric.name} needs images with classes; these have none",
        )


def require_outputs(extractor: Extractor, metrics: Sequence[Metric]) -> None:
    """Requires that the network has the outputs that the metrics read."""
    for metric in metrics:
        if metric.output in extractor.widths and metric.output not in extractor.missing:
            continue
        reason = extractor.missing.get(metric.output, f"{extractor.name} has no such output")
        known = [metrics_lib.find([name])[0] for name in metrics_lib.names()]
        able = [m.name for m in known if m.output in extractor.widths]
        raise ConfigError(
            f"metric {metric.name} needs features {metric.output!r}: {reason}; "
            f"metrics that --features {extractor.name} can serve here: {', '.join(able) or 'none'}"
        )


def require_classifier_of(
    num_classes: int | None, extractor: Extractor, metrics: Sequence[Metric]
) -> None:
    """Requires as many classes of images as a classifier predicts, if a metric compares them."""
    predicted = extractor.widths.get(_PREDICTIONS)
    for metric in metrics:
        if metric.uses_labels and metric.output == _PREDICTIONS:
            require(
                num_classes in (None, predicted),
                f"metric {metric.name}: the images have {num_classes} classes, "
                f"--features {extractor.name} has {predicted}; allowed: the same number",
            )


def require_same_size(fake_px: int, name: str, real_px: int) -> None:
    """Requires images of the same size on both sides."""
    require(
        real_px == fake_px,
        f"the images are {fake_px} px, the reference {name} is {real_px} px; "
        "give --image-size or another --reference",
    )


def require_known_classes(name: str, class_names: Sequence[str], known: Sequence[str]) -> None:
    """Requires that each class of the images called `name` is one of those of the other side."""
    unknown = [each for each in class_names if each not in known]
    require(
        not unknown,
        f"{name} has classes {_listed(unknown)}, which are not among those of the other side: "
        f"{_listed(known)}; allowed: the same classes, or images without classes",
    )


def require_same_numbers(name: str, class_names: Sequence[str], known: Sequence[str]) -> None:
    """Requires the same classes in the same order, where images cannot be renumbered.

    Names that are just the numbers, as of imported weights and of `.npz` files, fit as many others.
    """
    numbers = tuple(map(str, range(len(known))))
    if len(class_names) == len(known) and numbers in (tuple(class_names), tuple(known)):
        return
    require_known_classes(name, class_names, known)
    require(
        tuple(class_names) == tuple(known),
        f"{name} has classes {_listed(class_names)}, the other side has {_listed(known)}; "
        "allowed: the same classes in the same order",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
