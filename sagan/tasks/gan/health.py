"""Watches a GAN for collapse: its logits and losses, its spectral norms, and its samples.

It reads only what a run produces anyway: the scalars of log lines, and the samples of previews. The
diversity of samples is the root mean square distance between two samples of one class, divided by
that between two real images. The mean over all pairs is twice the variance, so no pair is formed.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from sagan import data
from sagan.config import GuardConfig
from sagan.data import Source, unreadable
from sagan.tasks import Preview

_READINGS = 3  # in a row make an alarm, since a single batch may be an outlier
_MIN_LOSS = 1e-3  # of the discriminator; a smaller one has no gradient left for the generator
_JUMP = 5.0  # times its average, a spectral norm raises an alarm; see BigGAN (arXiv:1809.11096)
_AVERAGE_WEIGHT = 0.1  # of a new spectral norm in that average
_REAL_IMAGES = 128


class GanHealth:
    """See `sagan.tasks.Health`.

    Args:
      source: the real images that samples are compared with.
      memory: what `memory` returned when the step that the run resumes from was saved.
    """

    def __init__(
        self, config: GuardConfig, source: Source, memory: Mapping[str, Any] | None = None
    ):
        memory = memory or {}
        self._config, self._source = config, source
        self.alarms: dict[str, str] = dict(memory.get("alarms", {}))
        self.last_healthy_step: int | None = memory.get("healthy")
        self._readings: dict[str, int] = dict(memory.get("looks", {}))
        self._sigma: dict[str, float] = dict(memory.get("sigma", {}))
        self._diversity: float | None = memory.get("diversity")
        self._was_diverse: bool = memory.get("was_diverse", False)
        self._real_spread: float | None = None

    def memory(self, step: int) -> dict[str, Any]:
        """Returns everything that is remembered, for the checkpoint of `step`."""
        if not self.alarms:
            self.last_healthy_step = step
        return {
            "alarms": self.alarms,
            "looks": self._readings,
            "sigma": self._sigma,
            "diversity": self._diversity,
            "was_diverse": self._was_diverse,
            "healthy": self.last_healthy_step,
        }

    def look(self, scalars: Mapping[str, float]) -> list[str]:
        """Looks at a log line; returns the alarms that are new."""
        if not math.isfinite(scalars["loss/d"]):  # the step was skipped
            return []
        margin = scalars["logits/real"] - scalars["logits/fake"]
        limit = self._config.max_margin
        found = [
            self._read(
                "margin",
                margin > limit,
                f"the discriminator's logits of real images are {margin:.3g} above those of "
                f"samples (guard.max_margin={limit:g})",
            ),
            self._read(
                "discriminator",
                abs(scalars["loss/d"]) < _MIN_LOSS,
                f"the discriminator's loss has vanished: {scalars['loss/d']:.2g}",
            ),
        ]
        for name, sigma in scalars.items():
            if name.startswith("sigma/") and math.isfinite(sigma):
                usual = self._sigma.setdefault(name, sigma)
                jumped = sigma > _JUMP * usual
                text = f"{name} is {sigma:.3g}; it was {usual:.3g}"
                found.append(self._read(name, jumped, text))
                # After an alarm the average follows sigma, so that the alarm ends if sigma stays.
                if not jumped or name in self.alarms:
                    self._sigma[name] += _AVERAGE_WEIGHT * (sigma - usual)
        return [text for text in found if text]

    def measure(self, preview: Preview) -> float | None:
        """Returns the diversity of a preview's samples, to 6 digits; None if it is undefined."""
        if self._real_spread is None:
            self._real_spread = spread_of(self._source)
        found = diversity(spread(preview.images, preview.labels), self._real_spread)
        return None if found is None else round(found, 6)

    def see(self, step: int, measured: float | None) -> list[str]:
        """Takes the diversity of the samples of `step`; returns the alarms that are new."""
        self._diversity = measured
        if measured is None or step == 0:  # nothing has been learnt at step 0
            return []
        limit = self._config.min_diversity
        self._was_diverse |= measured >= limit
        text = (
            f"samples of a class are {measured:.2g} times as far apart as real images "
            f"(guard.min_diversity={limit:g})"
        )
        # Raise the alarm at once if the samples used to be diverse. Otherwise wait for three low
        # readings: the run may still be warming up.
        needed = 1 if self._was_diverse else _READINGS
        new = self._read("diversity", measured < limit, text, needed)
        return [new] if new else []

    def scalars(self) -> dict[str, float]:
        """Returns what is added to a log line: number of alarms and, once known, diversity."""
        seen = {} if self._diversity is None else {"guard/diversity": self._diversity}
        return seen | {"guard/alarms": float(len(self.alarms))}

    def _read(self, kind: str, wrong: bool, text: str, needed: int = _READINGS) -> str:
        """Counts bad readings in a row; returns `text` when they become an alarm, else ''."""
        if not wrong:
            self._readings.pop(kind, None)
            self.alarms.pop(kind, None)
            return ""
        self._readings[kind] = self._readings.get(kind, 0) + 1
        if self._readings[kind] < needed:
            return ""
        known = kind in self.alarms
        self.alarms[kind] = text
        return "" if known else text


def spread(images: UInt8[np.ndarray, "N S S 3"], labels: Int[np.ndarray, " N"] | None) -> float:
    """Returns the root mean square distance between two different images of one class, in [0, 1].

    Per pixel and channel; 1 is the distance of black from white. NaN if no class has two images.
    """
    labels = np.zeros(len(images), int) if labels is None else labels
    squares, freedom = 0.0, 0
    for label in np.unique(labels):
        part = images[labels == label].astype(np.float32) / 255
        squares += float(np.sum((part - part.mean(axis=0)) ** 2, dtype=np.float64))
        freedom += len(part) - 1
    return math.sqrt(2 * squares / freedom / images[0].size) if freedom else math.nan


def spread_of(source: Source) -> float:
    """Returns the spread of real images, from pairs of neighbours taken evenly from the dataset.

    Folders are sorted by class, so neighbours mostly share one, however many classes there are.
    """
    pairs = np.linspace(0, len(source) - 2, _REAL_IMAGES // 2).astype(int)
    chosen = np.unique(np.clip([pairs, pairs + 1], 0, len(source) - 1))
    images, labels = data.read(unreadable.Tolerant(source), chosen)
    found = spread(images, labels)
    return found if math.isfinite(found) else spread(images, None)


def diversity(fake: float, real: float) -> float | None:
    """Returns the ratio of two spreads; None where real images of a class do not differ."""
    return fake / real if real > 0 and math.isfinite(fake) else None
