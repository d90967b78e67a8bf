"""Scores of generated images, and what this folder needs from a task to compute them.

A task (`sagan.tasks`) implements the protocols here: it loads a checkpoint as a `Sampler`, and
offers a `Scorer` for a `ScoreSpec`. Tasks whose samplers draw images use `ImageScorer`.

| file | contents |
|---|---|
| `checkpoints` | scores the checkpoints of a run, once or as they appear |
| `image_files` | scores images that come as files or as a split of a dataset |
| `image_scorer` | the `Scorer` of tasks whose samplers draw images |
| `evaluator` | metrics, a feature network and a reference, ready to score images |
| `fold` | one pass over images: features of each batch, folded into the metrics' states |
| `reference` | the real images that images are compared with: opened by name, computed once |
| `reference_files` | the files that references are cached in, or saved to |
| `peer_statistics` | means and covariances that other programs saved, as a reference |
| `requirements` | checks that raise an error before any work that could only fail |
| `protocol` | names of scores, and the fingerprint of how they were measured |
| `results` | the files `eval/<step>.json` of a run |
| `presentation` | results on the terminal, in TensorBoard and as a plot |
| `compare` | two results side by side |
| `metrics/` | the metrics |
| `features/` | the feature networks |
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int, UInt8

from sagan.config import EvalConfig
from sagan.config.fields import require


def require_truncation(psi: float | None) -> None:
    """Raises: ConfigError unless `psi`, the factor that latents are scaled by, is in (0, 1]."""
    require(psi is None or 0 < psi <= 1, f"truncation={psi}; allowed: (0, 1], or none")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreSpec:
    """Which scores are wanted, of how many images, against what.

    Attributes:
      metrics: names of metrics; see `evaluation.metrics`.
      features: the feature network; see `evaluation.features`.
      num_images: generated images to score.
      num_real: real images to compare with; None: all.
      reference: the real images: a folder, `PRESET:SPLIT`, or a file that `sagan reference` saved;
        None: the data that the run was trained on.
      weights: a file of the network's weights; None: the network's own.
      resizer: how images are brought to the network's size.
      seeds: seeds of latents and classes. With several, scores are means over them.
      truncation: latents are scaled by this factor; None: they are not.
      ema_sigma: relative width of the average of the weights; None: the run's usual average.
      batch_size: images per call of the feature network, on each device. It does not change scores.

    Raises: ConfigError for a truncation or seeds out of range.
    """

    metrics: tuple[str, ...]
    features: str = "inception"
    num_images: int = 50_000
    num_real: int | None = None
    reference: str | None = None
    weights: Path | None = None
    resizer: str = "tf"
    seeds: tuple[int, ...] = (0,)
    truncation: float | None = None
    ema_sigma: float | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        require_truncation(self.truncation)
        for seed in self.seeds:
            require(0 <= seed < 2**32, f"seeds={self.seeds}; allowed: 0 ... {2**32 - 1}")
        require(len(self.seeds) > 0, "seeds=(); allowed: one or more")

    @classmethod
    def of(cls, config: EvalConfig, **changes: Any) -> "ScoreSpec":
        """Returns what a run's config asks for, with the `changes` that are not None."""
        asked = {
            "metrics": config.metrics,
            "features": config.features,
            "num_images": config.num_images,
            "batch_size": config.batch_size,
        }
        return cls(**asked | {name: x for name, x in changes.items() if x is not None})

    def measures_like(self, other: "ScoreSpec") -> bool:
        """Returns whether both measure in the same way; the choice of metrics does not matter."""
        same = dataclasses.replace(self, metrics=other.metrics, batch_size=other.batch_size)
        return same == other


@runtime_checkable
class Sampler(Protocol):
    """A checkpoint that draws images; image i depends on (seed, i, label) alone.

    Attributes:
      class_names: by label; () if the model is unconditional.
    """

    @property
    def step(self) -> int: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    def sample(
        self,
        *,
        labels: Int[np.ndarray, " N"] | None,
        indices: Int[np.ndarray, " N"],
        seed: int = 0,
        truncation: float | None = None,
    ) -> UInt8[np.ndarray, "N S S 3"]:
        """Draws one RGB image per index; `labels` is None if the model is unconditional."""
        ...


class RealScores(NamedTuple):
    """Scores of real images, under the names of the scores of generated ones; and what they are."""

    name: str
    metrics: dict[str, float]
    about: str


@runtime_checkable
class Scorer(Protocol):
    """Scores the checkpoints of one task, as one `ScoreSpec` asks for."""

    @property
    def spec(self) -> ScoreSpec: ...

    def check(self) -> None:
        """Raises: ConfigError if these scores cannot be computed."""
        ...

    def keys(self) -> list[str]:
        """Returns the names that the scores begin with, one per metric, such as `fid50k`."""
        ...

    def protocol(self) -> dict[str, Any]:
        """Returns the fingerprint that scores are stored with; see `evaluation.protocol`."""
        ...

    def score_real(self) -> "RealScores | None":
        """Scores real images that were not trained on, to be shown beside checkpoints.

        All processes must call this. Returns None if there are none.
        """
        ...

    def score(self, sampler: Any) -> dict[str, Any]:
        """Scores what the task's `load_sampler` returned; all processes must call this.

        Returns: what `eval/<step>.json` holds: `step`, `metrics` (scores by name), `protocol`,
          `warnings` and `seconds`.
        """
        ...


@runtime_checkable
class ScoredTask(Protocol):
    """The part of a task that evaluation uses."""

    def scorer(self, spec: ScoreSpec) -> Scorer:
        """Opens the data and the networks that the scores need.

        Raises: ConfigError if they cannot be opened, or the scores cannot be computed.
        """
        ...

    def load_sampler(self, workdir: Path, step: int, *, ema_sigma: float | None = None) -> Any:
        """Loads a checkpoint for the task's scorer; returns a `Sampler` if it draws images.

        Raises: CheckpointError if there is no such checkpoint, or it is damaged.
        """
        ...


HowMade = Mapping[str, Any]  # a task's part of the fingerprint: how its samplers make images
