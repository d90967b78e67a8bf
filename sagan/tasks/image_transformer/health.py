"""Watches an Image Transformer: its bits per dimension, and whether its samples are all alike."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sagan import data
from sagan.config import GuardConfig
from sagan.data import Source, unreadable
from sagan.models.image_transformer import Config
from sagan.tasks import Preview
from sagan.tasks.image_transformer.checks import require_grey

_READINGS = 3  # in a row make an alarm, since a single batch may be an outlier
_FIRST = 10  # log lines that may be worse than guessing, at the start
_WORSE = 1.5  # times the best bits per dimension so far; more is an alarm
_REAL_IMAGES = 64


class TransformerHealth:
    """See `sagan.tasks.Health`.

    Args:
      source: the real images. With one channel, some are checked to be grey.
      memory: what `memory` returned when the step that the run resumes from was saved.

    Raises: ConfigError if the model has one channel and the images are coloured.
    """

    def __init__(
        self,
        config: GuardConfig,
        source: Source,
        model: Config,
        memory: Mapping[str, Any] | None = None,
    ):
        memory = memory or {}
        self._config = config
        self._uniform = math.log2(model.levels)
        self.alarms: dict[str, str] = dict(memory.get("alarms", {}))
        self.last_healthy_step: int | None = memory.get("healthy")
        self._readings: dict[str, int] = dict(memory.get("readings", {}))
        self._best: float | None = memory.get("best")
        self._seen: int = memory.get("seen", 0)
        chosen = np.unique(np.linspace(0, len(source) - 1, _REAL_IMAGES).astype(int))
        real, _ = data.read(unreadable.Tolerant(source), chosen)
        if model.channels == 1:
            require_grey(real)
        self._real_spread = _spread(real)

    def memory(self, step: int) -> dict[str, Any]:
        """Returns everything that is remembered, for the checkpoint of `step`."""
        if not self.alarms:
            self.last_healthy_step = step
        return {
            "alarms": self.alarms,
            "readings": self._readings,
            "best": self._best,
            "seen": self._seen,
            "healthy": self.last_healthy_step,
        }

    def look(self, scalars: Mapping[str, float]) -> list[str]:
        """Looks at a log line; returns the alarms that are new."""
        bits = scalars["bits_per_dim"]
        if not math.isfinite(bits):  # the step was skipped
            return []
        self._seen += 1
        self._best = bits if self._best is None else min(bits, self._best)
        found = [
            self._read(
                "uniform",
                bits > self._uniform and self._seen > _FIRST,
                f"images take {bits:.3g} bits per dimension, more than the {self._uniform:.3g} "
                "that guessing takes",
            ),
            self._read(
                "worse",
                bits > _WORSE * self._best and self._seen > _FIRST,
                f"images take {bits:.3g} bits per dimension; it was {self._best:.3g}",
            ),
        ]
        return [text for text in found if text]

    def measure(self, preview: Preview) -> float | None:
        """Returns how different samples are, as a multiple of real images; None if undefined."""
        if self._real_spread == 0:
            return None
        return round(_spread(preview.images) / self._real_spread, 6)

    def see(self, step: int, measured: float | None) -> list[str]:
        """Takes the diversity of the samples of `step`; returns the alarms that are new."""
        if measured is None or step == 0:  # nothing has been learnt at step 0
            return []
        limit = self._config.min_diversity
        text = (
            f"samples are {measured:.2g} times as far apart as real images "
            f"(guard.min_diversity={limit:g})"
        )
        new = self._read("diversity", measured < limit, text)
        return [new] if new else []

    def scalars(self) -> dict[str, float]:
        """Returns what is added to a log line: the number of alarms."""
        return {"guard/alarms": float(len(self.alarms))}

    def _read(self, kind: str, wrong: bool, text: str) -> str:
        """Counts bad readings in a row; returns `text` when they become an alarm, else ''."""
        if not wrong:
            self._readings.pop(kind, None)
            self.alarms.pop(kind, None)
            return ""
        self._readings[kind] = self._readings.get(kind, 0) + 1
        if self._readings[kind] < _READINGS:
            return ""
        known = kind in self.alarms
        self.alarms[kind] = text
        return "" if known else text


def _spread(images: np.ndarray) -> float:
    """Returns the root mean square distance of images from their mean."""
    parts = images.astype(np.float32) / 255
    return float(np.sqrt(np.mean((parts - parts.mean(0)) ** 2, dtype=np.float64)))
