"""Watches a captioner: captions that no longer depend on the image are an alarm."""

from collections.abc import Mapping
from typing import Any

from sagan.tasks import Preview

_READINGS = 3  # previews in a row make an alarm: early in a training all captions are the same


class CaptionHealth:
    """See `sagan.tasks.Health`.

    Args:
      memory: what `memory` returned when the step that the run resumes from was saved.
    """

    def __init__(self, memory: Mapping[str, Any] | None = None):
        memory = memory or {}
        self.alarms: dict[str, str] = dict(memory.get("alarms", {}))
        self.last_healthy_step: int | None = memory.get("healthy")
        self._same: int = memory.get("same", 0)
        self._distinct: float | None = memory.get("distinct")

    def look(self, scalars: Mapping[str, float]) -> list[str]:
        """Finds nothing in scalars: the loop itself stops at those that are not finite."""
        del scalars
        return []

    def measure(self, preview: Preview) -> list[int]:
        """Returns the numbers of different captions and of images in a preview."""
        texts = preview.about["captions"]
        return [len(set(texts)), len(texts)]

    def see(self, step: int, measured: list[int]) -> list[str]:
        """Takes these numbers; one caption for all images, three times in a row, is an alarm."""
        different, images = measured
        self._distinct = different / images
        if images < 2 or step == 0:  # nothing has been learnt at step 0
            return []
        self._same = self._same + 1 if different == 1 else 0
        if self._same < _READINGS:
            self.alarms.pop("captions", None)
            return []
        known = "captions" in self.alarms
        self.alarms["captions"] = "all images of the preview get the same caption"
        return [] if known else [self.alarms["captions"]]

    def scalars(self) -> dict[str, float]:
        """Returns what is added to a log line."""
        seen = {} if self._distinct is None else {"guard/distinct": self._distinct}
        return seen | {"guard/alarms": float(len(self.alarms))}

    def memory(self, step: int) -> dict[str, Any]:
        """Returns everything that is remembered, for the checkpoint of `step`."""
        if not self.alarms:
            self.last_healthy_step = step
        return {
            "alarms": self.alarms,
            "same": self._same,
            "distinct": self._distinct,
            "healthy": self.last_healthy_step,
        }
