"""What a training says of its speed while it runs: the figures of `sagan bench`, live."""

from typing import Any

import jax

from sagan.config import Config
from sagan.files.tables import shown
from sagan.parallel import chips, flops


class Speed:
    """Turns steps per second into the other figures.

    Args:
      config: resolved.
      per_dispatch: generator updates in one call of the program.
    """

    def __init__(self, config: Config, per_dispatch: int):
        self._images = config.train.batch_size * config.train.d_steps_per_g_step
        self._per_dispatch = per_dispatch
        self._kind = jax.devices()[0].device_kind
        self._flops: float | None = None

    def figures(self, steps_per_second: float, *call: Any) -> dict[str, float]:
        """Gives scalars: real images through the discriminator per second, share of the peak.

        Args:
          call: the program and its arguments, whose matrix products are counted, once, where the
            chip's peak is known.
        """
        found = {
            "time/steps_per_second": steps_per_second,
            "time/images_per_second": steps_per_second * self._images,
        }
        if self._kind in chips.CHIPS:
            if self._flops is None:
                self._flops = flops.matmuls(flops.jaxpr_of(*call)) / self._per_dispatch
            share = chips.share_of_peak(self._flops * steps_per_second, self._kind)
            found["time/share_of_peak"] = float(share or 0)
        return found


def detail(values: dict[str, float]) -> str:
    """Writes speed and losses for a progress line."""
    speed = f"{shown(values['time/images_per_second'])} images/s"
    share = values.get("time/share_of_peak")
    share = "" if share is None else f"{share:.1%} of peak  "
    return f"{speed}  {share}d {values['loss/d']:.3f}  g {values['loss/g']:.3f}"
