"""What a score was measured with: the key it is filed under, and the fingerprint stored beside it.

There are no free evaluation flags. A metric fixes its network output, its constants and its
shuffling; the resizer and the number of images are part of the key: `fid50k` is FID of 50,000
images resized as TensorFlow 1 did (`tf`), `clean_fid10k` of 10,000 resized as clean-fid does.
Everything else that moves a score is in the fingerprint, and scores whose fingerprints differ
are not comparable (`sagan compare`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sagan.config import Config, ConfigError
from sagan.config.fields import require
from sagan.evaluation.metrics import Metric

# Every field of a stored fingerprint; a network may add its own.
FIELDS = {
    "features": "network",
    "weights_sha256": "of the network's weights",
    "resizer": "to the network's input size",
    "reference": "name of the real side",
    "reference_sha256": "of its pixels, positions and classes",
    "num_real": "images",
    "num_fake": "images",
    "image_size": "of both sides, before the resizer",
    "quantisation": "from the generator's output to 0 ... 255",
    "batch_norm": "statistics that the generator was run with",
    "ema": "whether the averaged weights were sampled",
    "truncation": "of the latents",
    "seed": "of latents and classes; several if scores are means over them",
}
# Seeds make a score another draw, not another measurement; a reference is known by its contents.
_NOT_COMPARED = {"seed", "reference"}
# These say how images were made. Images from elsewhere come without, which refuses nothing.
_OF_GENERATOR = ("quantisation", "batch_norm", "ema", "truncation")


def key(name: str, num_images: int, part: str = "", *, resizer: str = "tf") -> str:
    """Names a score: `fid50k`, `pr50k_precision`, `fid_768_2000`, `clean_fid50k`."""
    thousands, rest = divmod(num_images, 1000)
    count = f"{thousands}k" if rest == 0 and thousands >= 10 else str(num_images)
    joint = "_" if name[-1].isdigit() else ""
    prefix = "" if resizer in ("tf", "", "none") else f"{resizer}_"
    return prefix + name + joint + count + (f"_{part}" if part else "")


def of_generator(config: Config, seeds: Sequence[int], truncation: float | None) -> dict[str, Any]:
    """Describes how a checkpoint of this config is sampled."""
    return {
        "quantisation": "round",
        "batch_norm": f"standing, {config.checkpoint.statistics_batches} training batches",
        "ema": config.optim.ema_decay > 0,
        "truncation": truncation,
        "seed": seeds[0] if len(seeds) == 1 else list(seeds),
    }


def of_files() -> dict[str, Any]:
    """Describes images that come as files: how they were made is not known."""
    return dict.fromkeys((*_OF_GENERATOR, "seed"))


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Lists, as `field: a / b`, what makes scores of two fingerprints incomparable."""
    passed_over = set(_NOT_COMPARED)
    if _is_of_files(a) or _is_of_files(b):
        passed_over.update(_OF_GENERATOR)
    found = []
    for field in sorted({*a, *b} - passed_over):
        x, y = _value(a, field), _value(b, field)
        if x != y:
            found.append(f"{field}: {x!r} / {y!r}")
    return found


def _is_of_files(protocol: Mapping[str, Any]) -> bool:
    return all(protocol.get(field) is None for field in _OF_GENERATOR)


def _value(protocol: Mapping[str, Any], field: str) -> Any:
    """Reads a field; latents that were not truncated are those of psi = 1."""
    value = protocol.get(field)
    return 1.0 if field == "truncation" and value is None else value


def warnings(metric: Metric, width: int, num_fake: int, num_real: int | None) -> list[str]:
    """Says what a reader of the score must know; empty if all is well."""
    fewest = num_fake if num_real is None else min(num_fake, num_real)
    if not metric.USES_REAL or not metric.init.__module__.endswith("_moments") or fewest > width:
        return []
    return [
        f"{metric.NAME}: {fewest} images for {width} features; the covariance lacks rank and the "
        "distance is biased upwards: compare only at equal numbers of images"
    ]


def check_possible(
    metrics: Sequence[Metric], num_fake: int, num_real: int | None, labelled: bool
) -> None:
    """Refuses, before any work, what could only fail after it.

    Raises: ConfigError for too few images, or metrics that need classes where there are none.
    """
    for metric in metrics:
        for side, number in (("generated", num_fake), ("real", num_real)):
            if side == "real" and not metric.USES_REAL or number is None:
                continue
            if number < metric.MIN_IMAGES:
                raise ConfigError(
                    f"metric {metric.NAME} needs at least {metric.MIN_IMAGES} {side} images, "
                    f"got {number}"
                )
        if metric.USES_LABELS and not labelled:
            raise ConfigError(f"metric {metric.NAME} needs images with classes; these have none")


def require_truncation(psi: float | None) -> None:
    """Raises: ConfigError for a factor of latents that is none."""
    require(psi is None or 0 < psi <= 1, f"--truncation {psi}; allowed: (0, 1]")


def balanced_labels(
    num_images: int, class_counts: Sequence[int] | np.ndarray, seed: int
) -> np.ndarray:
    """Draws classes for generated images, as frequent as among the real ones to within one image.

    In a seeded random order, so that any run of consecutive images is as mixed as the whole.

    Returns: int32 (num_images,).
    """
    counts = np.asarray(class_counts, np.float64)
    shares = num_images * counts / counts.sum()
    numbers = np.floor(shares).astype(int)
    short = num_images - numbers.sum()
    numbers[np.argsort(numbers - shares, kind="stable")[:short]] += 1  # largest remainders first
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), numbers)
    return np.random.default_rng([seed, num_images]).permutation(labels)
