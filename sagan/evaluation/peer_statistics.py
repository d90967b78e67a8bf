"""Statistics that pytorch-fid or TTUR saved: mean and covariance of Inception's features.

Such a file, an `.npz` with `mu` and `sigma`, does not say of how many images it is, of which size,
nor how they were resized for the network (`sagan eval --resizer`: pytorch-fid does as `torch`, TTUR
as `tf`).
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation.features import Extractor
from sagan.evaluation.metrics import Metric, State
from sagan.evaluation.metrics.frechet import Moments

_STATE = "pool.moments"  # of the 2048 features
# Any number that is larger than that of the features gives the same distance.
_ASSUMED_IMAGES = 1_000_000


def are_in(file: Mapping[str, Any]) -> bool:
    """Returns whether an opened `.npz` is such a file."""
    return {"mu", "sigma"} <= set(file) and "about" not in file


def states(
    path: Path, file: Mapping[str, Any], metrics: Sequence[Metric], extractor: Extractor
) -> tuple[dict[str, State], str]:
    """Returns the states that the metrics need, and a hash of the file's numbers.

    Raises: ConfigError if a metric needs more than mean and covariance of the network's features,
      or the arrays are not these.
    """
    wanted = {m.state_name: m for m in metrics if m.uses_real}
    for name, metric in wanted.items():
        require(
            name == _STATE,
            f"{path} holds mean and covariance of 2048 features, which serve fid alone; "
            f"{metric.name} needs a folder, PRESET:SPLIT, or a file of `sagan reference`",
        )
    width = extractor.widths.get("pool")
    mean, covariance = (np.asarray(file[name]) for name in ("mu", "sigma"))
    fits = mean.shape == (width,) and covariance.shape == (width, width)
    require(
        fits and mean.dtype.kind == covariance.dtype.kind == "f",
        f"{path}: mu is {mean.dtype} {mean.shape} and sigma {covariance.dtype} {covariance.shape}; "
        f"--features {extractor.name} needs float ({width},) and ({width}, {width})",
    )
    mean, covariance = mean.astype(np.float64), covariance.astype(np.float64)
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ConfigError(f"{path}: mu or sigma holds numbers that are not finite")
    require(np.allclose(covariance, covariance.T), f"{path}: sigma is not symmetric")
    number = _ASSUMED_IMAGES
    outer = (number - 1) * covariance + number * np.outer(mean, mean)
    digest = hashlib.sha256(mean.tobytes() + covariance.tobytes()).hexdigest()
    return {_STATE: Moments(np.array(number), number * mean, outer)}, digest
