"""Watches a game for collapse: what the discriminator says, the samples, the spectral norms.

All it looks at is there already: the scalars of a log line, and the sheet of fixed latents that
is drawn anyway. Diversity is the root mean square distance between two samples of one class over
that of two real images; the mean over all pairs is twice the variance, so no pair is ever formed.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from sagan import data
from sagan.config import GuardConfig
from sagan.data import Source, unreadable

_LOOKS = 3  # in a row; a single batch may say anything
_NO_LOSS = 1e-3  # of the discriminator; less teaches the generator nothing
_JUMP = 5.0  # a spectral norm over its own average; those of BigGAN (arXiv:1809.11096) explode
_FORGET = 0.1  # share of a new spectral norm in that average
_REAL_IMAGES = 128


class Sentinel:
    """Remembers what it has seen; checkpoints carry that on.

    Attributes:
      alarms: what is wrong at present, by kind, each in a sentence.
      healthy: the newest step that was saved without alarms.

    Args:
      memory: what `memory` gave when the step that the run goes on from was saved.
    """

    def __init__(self, config: GuardConfig, memory: Mapping[str, Any] | None = None):
        memory = memory or {}
        self._config = config
        self.alarms: dict[str, str] = dict(memory.get("alarms", {}))
        self._looks: dict[str, int] = dict(memory.get("looks", {}))
        self._sigma: dict[str, float] = dict(memory.get("sigma", {}))
        self._diversity: float | None = memory.get("diversity")
        self._was_diverse: bool = memory.get("was_diverse", False)
        self.healthy: int | None = memory.get("healthy")

    def memory(self, step: int) -> dict[str, Any]:
        """Gives all that is remembered, for the checkpoint of `step`."""
        if not self.alarms:
            self.healthy = step
        return {
            "alarms": self.alarms,
            "looks": self._looks,
            "sigma": self._sigma,
            "diversity": self._diversity,
            "was_diverse": self._was_diverse,
            "healthy": self.healthy,
        }

    def look(self, scalars: Mapping[str, float]) -> list[str]:
        """Looks at a log line. Returns: alarms that are new."""
        if not math.isfinite(scalars["loss/d"]):  # a step that was skipped
            return []
        margin = scalars["logits/real"] - scalars["logits/fake"]
        limit = self._config.max_margin
        found = [
            self._note(
                "margin",
                margin > limit,
                f"D's logits of real images are {margin:.3g} above those of samples "
                f"(guard.max_margin={limit:g})",
            ),
            self._note(
                "discriminator",
                abs(scalars["loss/d"]) < _NO_LOSS,
                f"D has no loss left: {scalars['loss/d']:.2g}",
            ),
        ]
        for name, sigma in scalars.items():
            if name.startswith("sigma/") and math.isfinite(sigma):
                usual = self._sigma.setdefault(name, sigma)
                jumped = sigma > _JUMP * usual
                text = f"{name} is {sigma:.3g}, and was {usual:.3g}"
                found.append(self._note(name, jumped, text))
                if not jumped or name in self.alarms:  # where it stays is usual in time
                    self._sigma[name] += _FORGET * (sigma - usual)
        return [text for text in found if text]

    def see(self, step: int, diversity: float | None) -> list[str]:
        """Takes in how diverse the samples of `step` are. Returns: alarms that are new."""
        self._diversity = diversity
        if diversity is None or step == 0:  # nothing is learnt at 0
            return []
        limit = self._config.min_diversity
        self._was_diverse |= diversity >= limit
        text = (
            f"samples of a class are {diversity:.2g} times as far apart as real images "
            f"(guard.min_diversity={limit:g})"
        )
        # A sheet says much: what was lost is gone. What never was may still come.
        looks = 1 if self._was_diverse else _LOOKS
        new = self._note("diversity", diversity < limit, text, looks)
        return [new] if new else []

    def scalars(self) -> dict[str, float]:
        """Gives what marks a log line."""
        seen = {} if self._diversity is None else {"guard/diversity": self._diversity}
        return seen | {"guard/alarms": float(len(self.alarms))}

    def _note(self, kind: str, wrong: bool, text: str, looks: int = _LOOKS) -> str:
        """Counts looks in a row. Returns: `text` when it becomes an alarm."""
        if not wrong:
            self._looks.pop(kind, None)
            self.alarms.pop(kind, None)
            return ""
        self._looks[kind] = self._looks.get(kind, 0) + 1
        if self._looks[kind] < looks:
            return ""
        known = kind in self.alarms
        self.alarms[kind] = text
        return "" if known else text


def spread(images: UInt8[np.ndarray, "N S S 3"], labels: Int[np.ndarray, " N"] | None) -> float:
    """Gives the root mean square distance between two different images of one class, in [0, 1].

    Per pixel and channel, 1 being black against white. NaN where no class has two images.
    """
    labels = np.zeros(len(images), int) if labels is None else labels
    squares, freedom = 0.0, 0
    for label in np.unique(labels):
        part = images[labels == label].astype(np.float32) / 255
        squares += float(np.sum((part - part.mean(axis=0)) ** 2, dtype=np.float64))
        freedom += len(part) - 1
    return math.sqrt(2 * squares / freedom / images[0].size) if freedom else math.nan


def spread_of(source: Source) -> float:
    """Gives the spread of real images: of pairs of neighbours taken evenly from the whole set."""
    # Neighbours, since folders are sorted by class: there may be more classes than images here.
    pairs = np.linspace(0, len(source) - 2, _REAL_IMAGES // 2).astype(int)
    chosen = np.unique(np.clip([pairs, pairs + 1], 0, None))
    images, labels = data.read(unreadable.Tolerant(source), chosen)
    found = spread(images, labels)
    return found if math.isfinite(found) else spread(images, None)


def diversity(fake: float, real: float) -> float | None:
    """Gives one spread over the other; None where real images of a class do not differ."""
    return fake / real if real > 0 and math.isfinite(fake) else None
