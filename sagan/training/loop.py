"""The training loop: feed, step, log, preview, save, score, stop."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sagan.config import Config
from sagan.data import Source
from sagan.evaluation import checkpoints as scoring
from sagan.files import images
from sagan.files.progress import Progress
from sagan.parallel import processes
from sagan.parallel.platform import Platform, current
from sagan.runs import lasting
from sagan.runs.logs import RunLog
from sagan.training.dispatch import plan
from sagan.training.phase import Phase
from sagan.training.prepare import Parts, prepare, resolve
from sagan.training.speed import detail
from sagan.training.stop import Preempted


def run(
    config: Config,
    workdir: Path,
    source: Source | None = None,
    hardware: Platform | None = None,
    *,
    owns_process: bool = True,
    init_from: Path | None = None,
) -> Path:
    """Trains to `train.steps`, from the newest checkpoint in `workdir` if there is one.

    Args:
      source: the config's images, if they are open already.
      hardware: the platform to train for; None: that of this process.
      owns_process: signals stop the run, and a run that hangs ends the process. Otherwise signals
        keep the meaning they have, and there is no watchdog.
      init_from: work directory of another run, whose weights a new run starts from; see
        `start_from`. A run that resumes has its own.

    Returns:
      The path of the last picture of samples.

    Raises:
      ConfigError: a setting is invalid, or does not suit the data or the devices.
      CheckpointError: `workdir` holds another run, or all of its checkpoints are damaged; or
        `init_from` has no checkpoint that is whole.
      LockedError: another process trains in `workdir`.
      SaveError: a checkpoint could not be written.
      LogError: scalars could not be written.
      Preempted: SIGTERM or Ctrl-C came; everything is saved.
      Diverged: too many steps were not finite, or the run has collapsed.
    """
    config, source = resolve(config, source)
    hardware = hardware or current()
    how: Any = {"owns_process": owns_process, "init_from": init_from}
    with prepare(config, workdir, source, hardware, **how) as parts:
        return Loop(parts).run()


def picture_path(workdir: Path, step: int) -> Path:
    """Returns where the picture of samples of a step is written."""
    return workdir / "samples" / f"{step}.png"


class Loop:
    """Runs one training from its first state to its last step."""

    def __init__(self, parts: Parts):
        self._parts, self._cadence = parts, parts.cadence
        self._step, self._state = parts.step, parts.state
        self._last_step = parts.cadence.last_step
        self._saved = parts.step if parts.step else None  # the last step that was saved
        self._main = processes.is_main()
        self._run_log: RunLog | None = None
        self._has_begun = False
        self._progress = Progress(
            "train", self._last_step, done=self._step, unit="steps", enabled=self._main
        )

    def run(self) -> Path:
        """Trains to the last step. Pending writes are finished even if training fails."""
        parts = self._parts
        with contextlib.ExitStack() as files:
            if self._main:
                self._run_log = files.enter_context(parts.open_log())
            try:
                # The process that saved this step may have ended before it was scored.
                self._score_if(self._step > 0 and self._scores_here())
                with jax.transfer_guard("disallow"):
                    self._train()
            finally:
                self._progress.close()
                with parts.activity.during(Phase.SAVING):
                    parts.checkpoints.wait()
        self._score_if(parts.score_at_end and self._saved is not None)
        if self._main:
            print(f"sagan: {parts.goodput.summary()}", file=sys.stderr)
        return picture_path(parts.workdir, self._step)

    def _train(self) -> None:
        parts = self._parts
        dispatches = list(plan(self._step, parts.steps_per_dispatch, self._cadence))
        if not dispatches:
            return
        batches = parts.pipeline.batches(dispatches)
        snapshot = self._snapshot_at_0()
        if parts.compiled is not None:
            parts.compiled.result()
        called: set[int] = set()
        since, since_step, line = time.perf_counter(), self._step, ""
        for _, number in dispatches:
            with parts.activity.during(Phase.READING):
                batch = next(batches)
            if number not in called:  # this call compiles the program
                called.add(number)
                parts.activity.switch(Phase.COMPILING)
            self._state, scalars = parts.program(self._state, parts.pipeline.data, batch)
            self._step += number
            self._note_progress()
            parts.health.dispatched(self._step, scalars)
            if snapshot is not None:
                snapshot = self._preview_step_0(snapshot)
            if self._is_due(self._cadence.log):
                rate = (self._step - since_step) / (time.perf_counter() - since)
                line = self._log(scalars, rate, number, batch)
                since, since_step = time.perf_counter(), self._step
            self._progress.update(self._step, line)
            with jax.transfer_guard("allow"):
                before = time.perf_counter()
                self._preview_save_score()
                since += time.perf_counter() - before  # the rate is that of training alone
                self._stop_if_needed()

    def _note_progress(self) -> None:
        """Records that a dispatch was started, so that its program is compiled."""
        parts = self._parts
        parts.watchdog.beat(self._step)
        parts.checkpoints.check()
        if parts.activity.phase is Phase.COMPILING:
            parts.activity.switch(Phase.STEPPING)
            if self._main and not self._has_begun:
                print(f"sagan: {parts.goodput.begun()}", file=sys.stderr)
            self._has_begun = True

    def _is_due(self, every: int) -> bool:
        return every > 0 and (self._step % every == 0 or self._step == self._last_step)

    def _scores_here(self) -> bool:
        every = self._cadence.score
        return every > 0 and self._step % every == 0

    def _log(self, scalars: Any, steps_per_second: float, number: int, batch: Any) -> str:
        """Writes a line of scalars; returns the text of the progress line."""
        parts = self._parts
        values = parts.health.logged(self._step, parts.devices.fetch(scalars))
        call = parts.program, self._state, parts.pipeline.data, batch
        values |= parts.speed.figures(steps_per_second, number, *call)
        if self._run_log:
            self._run_log.write(self._step, values | parts.goodput.scalars())
        return detail(values, parts.task.headline)

    def _snapshot_at_0(self) -> Any:
        """Copies what the preview of step 0 needs, before the first step overwrites the state."""
        if self._step or not self._cadence.preview:
            return None
        parts = self._parts
        return _copy(parts.devices.local(parts.task.snapshot(self._state.task)))

    def _preview_step_0(self, snapshot: Any) -> None:
        """Previews step 0 while the first step runs, so that training does not wait for it."""
        parts = self._parts
        with jax.transfer_guard("allow"), parts.activity.during(Phase.SAMPLING):
            self._preview(0, parts.task.inference(snapshot, quick=True))

    def _preview(self, step: int, variables: Any) -> None:
        parts, preview = self._parts, None
        if self._main:
            preview = parts.task.preview(variables, step)
            images.save(picture_path(parts.workdir, step), preview.picture, preview.about)
            if self._run_log:
                self._run_log.picture(step, preview.picture)
        parts.health.previewed(step, preview)

    def _preview_save_score(self) -> None:
        """Previews, saves and scores if one of them is due."""
        parts = self._parts
        preview, score = self._is_due(self._cadence.preview), self._scores_here()
        save = self._is_due(self._cadence.save) or score
        if not preview and (not save or self._saved == self._step):
            return
        parts.health.wait()
        with parts.activity.during(Phase.SAMPLING if preview else Phase.SAVING):
            variables = self._variables()
            if preview:
                self._preview(self._step, variables)
        if save:
            self._save(variables)
        self._score_if(score)

    def _variables(self) -> Any:
        parts = self._parts
        return parts.task.inference(parts.devices.local(parts.task.snapshot(self._state.task)))

    def _save(self, variables: Any = None) -> None:
        if self._saved == self._step:
            return
        parts = self._parts
        parts.health.wait()
        with parts.activity.during(Phase.SAVING):
            variables = self._variables() if variables is None else variables
            about = {
                "step": self._step,
                "class_names": list(parts.class_names),
                "vocabulary": list(parts.vocabulary),
                "images": parts.images,
                "guard": parts.health.memory(self._step),
            }
            if self._main and (kept := parts.task.lasting(self._state.task)):
                lasting.write(parts.workdir, self._step, parts.devices.fetch(kept))
            state = parts.devices.to_global(self._state)
            parts.checkpoints.save(
                self._step,
                state,
                parts.devices.replicate(variables),
                about,
                worth_keeping=parts.health.worth_keeping(),
            )
        self._saved = self._step

    def _score_if(self, wanted: bool) -> None:
        """Scores the step that was saved last, unless that was done before."""
        parts = self._parts
        if not wanted or parts.scorer is None:
            return
        scorer = parts.scorer
        with parts.activity.during(Phase.SAVING):
            parts.checkpoints.wait()
        if processes.broadcast_from_main(
            lambda: scoring.is_scored(parts.workdir, self._step, scorer)
        ):
            return
        self._progress.close()
        with parts.activity.during(Phase.SCORING):
            parts.stop.end_if_asked()
            scoring.score_run(
                parts.workdir, parts.task, scorer.spec, step=self._step, scorer=scorer
            )

    def _stop_if_needed(self) -> None:
        """Saves and ends the run if it has collapsed or was asked to stop.

        Raises: Diverged, Preempted.
        """
        parts = self._parts
        collapsed = parts.health.collapsed(self._step)
        if collapsed is not None:
            self._save()
            raise collapsed
        if self._step < self._last_step and parts.stop.reached(self._step):
            self._save()
            raise Preempted(f"saved step {self._step} of {parts.workdir}")


_copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))
