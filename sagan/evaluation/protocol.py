"""Names of scores, and the fingerprint of how they were measured.

No option changes a score unnoticed. A metric fixes its network output, its constants and how
it shuffles; the resizer and the number of images are part of the name of the score: `fid50k` is
FID of 50,000 images resized as TensorFlow 1 did (`tf`), `clean_fid10k` that of 10,000 images
resized as clean-fid does. Everything else that changes a score is in the fingerprint that is
stored beside it. `sagan compare` refuses scores with different ones (see `differences`).

Fields of a fingerprint:

    features, weights_sha256    the network and its weights
    resizer                     to the network's input size
    reference, reference_sha256 the real images: a name, and a hash of pixels, order and classes
    num_real, num_fake          numbers of images
    image_size                  of both sides, before the resizer
    truncation, seed            of latents; several seeds if scores are means over them
    quantisation, batch_norm, ema, ...  how the task made the images (`HowMade`)

A network may add fields of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sagan.evaluation import HowMade, ScoreSpec

# Another seed is another sample of the same measurement. A reference is identified by its hash.
_NOT_COMPARED = {"seed", "reference"}
# How images were made. All are None for images that come as files, because that is not known;
# these fields are then ignored in a comparison.
_HOW_MADE = ("quantisation", "batch_norm", "ema", "truncation")


def key(name: str, num_images: int, part: str = "", *, resizer: str = "tf") -> str:
    """Returns the name of a score: `fid50k`, `pr50k_precision`, `fid_768_2000`, `clean_fid50k`."""
    thousands, rest = divmod(num_images, 1000)
    number = f"{thousands}k" if rest == 0 and thousands >= 10 else str(num_images)
    joint = "_" if name[-1].isdigit() else ""
    prefix = "" if resizer in ("tf", "", "none") else f"{resizer}_"
    return prefix + name + joint + number + (f"_{part}" if part else "")


def of_samples(how_made: HowMade, spec: ScoreSpec) -> dict[str, Any]:
    """Returns the fields that describe images drawn by a task's sampler."""
    seed = spec.seeds[0] if len(spec.seeds) == 1 else list(spec.seeds)
    return {**how_made, "truncation": spec.truncation, "seed": seed}


def of_files() -> dict[str, Any]:
    """Returns the same fields for images that come as files: how they were made is not known."""
    return dict.fromkeys((*_HOW_MADE, "seed"))


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Lists, as `field: a / b`, what makes scores of two fingerprints incomparable."""
    ignored = set(_NOT_COMPARED)
    if _is_of_files(a) or _is_of_files(b):
        ignored.update(_HOW_MADE)
    found = []
    for field in sorted({*a, *b} - ignored):
        x, y = _value(a, field), _value(b, field)
        if x != y:
            found.append(f"{field}: {x!r} / {y!r}")
    return found


def _is_of_files(fingerprint: Mapping[str, Any]) -> bool:
    return all(fingerprint.get(field) is None for field in _HOW_MADE)


def _value(fingerprint: Mapping[str, Any], field: str) -> Any:
    """Reads a field. No truncation is the same as a factor of 1."""
    value = fingerprint.get(field)
    return 1.0 if field == "truncation" and value is None else value


def balanced_labels(
    num_images: int, class_counts: Sequence[int] | np.ndarray, seed: int
) -> np.ndarray:
    """Draws classes for generated images, as frequent as among the real ones to within one image.

    They come in a seeded random order, so any run of consecutive images is as mixed as the whole.

    Returns: int32 (num_images,).
    """
    counts = np.asarray(class_counts, np.float64)
    exact = num_images * counts / counts.sum()
    numbers = np.floor(exact).astype(int)
    short = num_images - numbers.sum()
    numbers[np.argsort(numbers - exact, kind="stable")[:short]] += 1  # largest remainders first
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), numbers)
    return np.random.default_rng([seed, num_images]).permutation(labels)
