"""Watches a run's health: skipped steps, and alarms of the task, both of which may end it."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from sagan.config import Config, ConfigError
from sagan.evaluation import results
from sagan.parallel import processes
from sagan.parallel.devices import Devices
from sagan.runs.logs import Journal
from sagan.tasks import Health, Preview
from sagan.training import nonfinite
from sagan.training.nonfinite import Diverged
from sagan.training.state import RunState

ALARMS = "alarms.json"
_IN_FLIGHT = 2  # dispatches that the loop may run ahead of the devices


class RunHealth:
    """Checks each dispatch, log line and preview for signs that training has gone wrong.

    All processes reach the same result: they see the same scalars, and the first one sends the
    others what it measured in the preview.

    Args:
      watched: scalars that must be finite in every step.
      watcher: the task's `Health`.
      state: the run continues from here.
    """

    def __init__(
        self,
        workdir: Path,
        config: Config,
        watched: Sequence[str],
        watcher: Health,
        devices: Devices,
        state: RunState,
    ):
        self._config, self._workdir = config, workdir
        self._watcher, self._devices = watcher, devices
        self._main = processes.is_main()
        step, skipped = (int(devices.fetch(x)) for x in (state.step, state.skipped))
        self._history = nonfinite.History(
            workdir, watched, config.guard.skip_steps, step=step, skipped=skipped, main=self._main
        )
        self._alarms = Journal(workdir / ALARMS, step, self._main)
        self._in_flight: list[tuple[int, Mapping[str, Any]]] = []

    def memory(self, step: int) -> dict[str, Any]:
        """Returns what a run that resumes from `step` must know; called when that step is saved."""
        return self._watcher.memory(step)

    def worth_keeping(self) -> set[int]:
        """Returns the best step that was scored, and the last one saved without an alarm."""
        healthy = self._watcher.last_healthy_step
        worth = set() if healthy is None else {healthy}
        with contextlib.suppress(ConfigError):  # nothing has been scored yet
            worth.add(results.best_step(self._workdir, self._config))
        return worth

    def dispatched(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Records what a started dispatch will return; waits until at most two are unfinished.

        Raises: Diverged.
        """
        self._in_flight.append((step, scalars))
        self.wait(_IN_FLIGHT)

    def wait(self, ahead: int = 0) -> None:
        """Waits until at most `ahead` dispatches are unfinished, and checks those that ended.

        Raises: Diverged.
        """
        while len(self._in_flight) > ahead:
            step, scalars = self._in_flight.pop(0)
            jax.block_until_ready(scalars)
            _, report = nonfinite.split(scalars)
            if report is not None:
                skipped = self._devices.fetch(report.skipped)
                if skipped.any():
                    seen = self._devices.fetch(report.seen)
                    self._history.read(step, nonfinite.Report(skipped, seen))

    def logged(self, step: int, scalars: Mapping[str, Any]) -> dict[str, float]:
        """Looks at the scalars of a dispatch, on the host; returns them as a log line."""
        values = {name: float(value) for name, value in nonfinite.split(scalars)[0].items()}
        self._warn(step, self._watcher.look(values))
        return values | self._watcher.scalars()

    def previewed(self, step: int, preview: Preview | None) -> None:
        """Looks at the preview of `step`, which the first process has drawn; others pass None."""

        def measure() -> Any:
            assert preview is not None
            return self._watcher.measure(preview)

        self._warn(step, self._watcher.see(step, processes.broadcast_from_main(measure)))

    def _warn(self, step: int, alarms: list[str]) -> None:
        for text in alarms:
            self._alarms.add(step, {"alarm": text})
            if self._main:
                print(f"sagan: warning: step {step}: {text}", file=sys.stderr)

    def collapsed(self, step: int) -> Diverged | None:
        """Returns the error that ends the run after `step`, which is to be saved first.

        It is None unless there is an alarm and `guard.stop_on_collapse` is set; every process
        gets the same answer.
        """
        if not (self._config.guard.stop_on_collapse and self._watcher.alarms):
            return None
        healthy = self._watcher.last_healthy_step
        kept = f"; step {healthy} was the last one without an alarm" if healthy else ""
        return Diverged(
            f"the run has collapsed (guard.stop_on_collapse); step {step} is saved: "
            f"{'; '.join(self._watcher.alarms.values())}. All alarms are in "
            f"{self._alarms.path}{kept}"
        )
