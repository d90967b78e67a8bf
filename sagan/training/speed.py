"""How fast a training runs, for log lines and the progress line."""

from collections.abc import Sequence
from typing import Any

from sagan.files.tables import shown
from sagan.parallel import chips, flops
from sagan.parallel.platform import Platform


class Speed:
    """Converts steps per second to images per second and the fraction of the chip's peak.

    Args:
      images_per_step: real images that one step consumes.
      platform: the hardware. If its peak is not known, there is no fraction.
    """

    def __init__(self, images_per_step: int, platform: Platform):
        self._images, self._kind = images_per_step, platform.device_kind
        self._flops: dict[int, float] = {}  # of one step, by the number of steps in a dispatch

    def figures(
        self, steps_per_second: float, steps_per_dispatch: int, *call: Any
    ) -> dict[str, float]:
        """Returns scalars: steps and real images per second, and the fraction of the chip's peak.

        Args:
          call: the program and its arguments. Its matrix products are counted once.
        """
        found = {
            "time/steps_per_second": steps_per_second,
            "time/images_per_second": steps_per_second * self._images,
        }
        if self._kind in chips.CHIPS:
            if steps_per_dispatch not in self._flops:
                count = flops.matmuls(flops.jaxpr_of(*call)) / steps_per_dispatch
                self._flops[steps_per_dispatch] = count
            speed = self._flops[steps_per_dispatch] * steps_per_second
            share = chips.share_of_peak(speed, self._kind)
            if share is not None:
                found["time/share_of_peak"] = share
        return found


def detail(values: dict[str, float], headline: Sequence[str]) -> str:
    """Returns speed and the headline scalars for a progress line; `loss/d` is shown as `d`."""
    words = [f"{shown(values['time/images_per_second'])} images/s"]
    if "time/share_of_peak" in values:
        words.append(f"{values['time/share_of_peak']:.1%} of peak")
    words += [f"{name.rpartition('/')[2]} {values[name]:.3f}" for name in headline]
    return "  ".join(words)
