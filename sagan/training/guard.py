"""What the loop shows its guards, and when they end it: numbers gone wrong, a collapse."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from sagan.config import Config, ConfigError
from sagan.data import Source
from sagan.evaluation import results
from sagan.parallel.devices import Devices
from sagan.parallel.processes import broadcast_from_main, is_main
from sagan.runs.logs import Journal
from sagan.tasks.gan import optim, sentinel
from sagan.training import gate
from sagan.training.divergence import Diverged, History

ALARMS = "alarms.json"
_MILLION = 1_000_000
_IN_FLIGHT = 2  # dispatches that the loop may run ahead of the devices


class Guard:
    """Reads what each dispatch, log line and sheet of samples says of the game's health.

    All processes do so alike: they see the same scalars, and the first one tells the others what
    it saw in the samples.

    Args:
      source: the real images that samples are compared with.
      state: a TrainState; the run goes on from here.
      memory: what `memory` gave when that was saved; None at the beginning.
    """

    def __init__(
        self,
        config: Config,
        workdir: Path,
        source: Source,
        devices: Devices,
        state: Any,
        memory: Mapping[str, Any] | None,
    ):
        main = is_main()
        self._config, self._workdir, self._source = config, workdir, source
        self._devices, self._main = devices, main
        step = int(devices.fetch(state.step))
        skipped = step - int(devices.fetch(optim.num_updates(state.g.opt_state)))
        self._history = History(workdir, config.guard.skip_steps, step, skipped, main)
        self._alarms = Journal(workdir / ALARMS, step, main)
        self._sentinel = sentinel.Sentinel(config.guard, memory)
        self._in_flight: list[tuple[int, Mapping[str, Any]]] = []
        self._real: float | None = None

    def memory(self, step: int) -> dict[str, Any]:
        """Gives what must be known again after `step`, which is now saved."""
        return self._sentinel.memory(step)

    def worth_keeping(self) -> set[int]:
        """Gives the best step that was scored, and the last that was saved without alarms."""
        worth = set() if self._sentinel.healthy is None else {self._sentinel.healthy}
        with contextlib.suppress(ConfigError):  # nothing is scored yet
            worth.add(results.best_step(self._workdir, self._config))
        return worth

    def dispatched(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Takes what a dispatch will return, and waits for one of earlier ones.

        Raises: Diverged.
        """
        self._in_flight.append((step, scalars))
        self.land(_IN_FLIGHT)

    def land(self, ahead: int = 0) -> None:
        """Waits until no more than `ahead` dispatches are under way; looks at those that ended.

        Raises: Diverged.
        """
        while len(self._in_flight) > ahead:
            step, scalars = self._in_flight.pop(0)
            jax.block_until_ready(scalars)
            skipped = self._devices.fetch(scalars[gate.SKIPPED])
            if skipped.any():
                seen = self._devices.fetch(scalars[gate.SEEN])
                self._history.read(step, gate.Report(skipped, seen))

    def logged(self, step: int, scalars: Mapping[str, Any]) -> dict[str, float]:
        """Looks at what a dispatch returned, on the host. Returns: a log line, with its marks."""
        values = {name: float(value) for name, value in gate.split(scalars)[0].items()}
        self._say(step, self._sentinel.look(values))
        return values | self._sentinel.scalars()

    def drawn(self, step: int, draw: Callable[[], tuple[Any, Any]]) -> None:
        """Lets the first process draw the sheet of `step`, and all look at it."""
        found = broadcast_from_main(lambda: self._diversity(*draw()))
        self._say(step, self._sentinel.see(step, found / _MILLION if found >= 0 else None))

    def _diversity(self, images: Any, labels: Any) -> int:
        """Gives the diversity in millionths; -1 if there is none."""
        if self._real is None:
            self._real = sentinel.spread_of(self._source)
        found = sentinel.diversity(sentinel.spread(images, labels), self._real)
        return -1 if found is None else round(found * _MILLION)

    def _say(self, step: int, alarms: list[str]) -> None:
        for text in alarms:
            self._alarms.add(step, {"alarm": text})
            if self._main:
                print(f"sagan: warning: step {step}: {text}", file=sys.stderr)

    @property
    def ends(self) -> bool:
        """Says whether the run is to be saved and ended; the same in every process."""
        return self._config.guard.stop_on_collapse and bool(self._sentinel.alarms)

    def end(self, step: int) -> Diverged:
        """Gives what ends the run."""
        healthy = self._sentinel.healthy
        kept = f"; step {healthy} was the last without" if healthy else ""
        return Diverged(
            f"a collapse at step {step} (guard.stop_on_collapse), which is saved: "
            f"{'; '.join(self._sentinel.alarms.values())}. Alarms are in {self._alarms.path}{kept}"
        )
