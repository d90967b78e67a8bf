"""The loop: feed, step, log, sample, save, evaluate, stop."""

import contextlib
import functools
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from sagan import data
from sagan.config import Config, ConfigError
from sagan.config import plugins as registry
from sagan.data import Source
from sagan.data.pipeline import Feed, Pipeline
from sagan.evaluation import evaluate, evaluator
from sagan.files.progress import Progress
from sagan.parallel.devices import Devices, check_split, compile_in_background
from sagan.parallel.processes import broadcast_from_main, is_main
from sagan.runs import lock
from sagan.runs import recovery as quarantine
from sagan.runs.checkpoint import Checkpoints, claim
from sagan.runs.logs import Scalars
from sagan.tasks.gan import grids, sampler
from sagan.tasks.gan import step as train_step
from sagan.tasks.gan.losses import LOSSES, PENALTIES, find
from sagan.training import guard
from sagan.training import speed as live
from sagan.training.goodput import Goodput
from sagan.training.stop import Preempted, StopRequest
from sagan.training.watchdog import Watchdog


def check(config: Config) -> None:
    """Checks everything in a resolved config that can be checked without a device.

    Raises: ConfigError.
    """
    registry.load("models", config.model.name, field="model.name").check(config.model)
    find(LOSSES, config.train.loss, "train.loss")
    if config.train.penalty != "none":
        find(PENALTIES, config.train.penalty, "train.penalty")
    if config.eval.every_steps % config.checkpoint.every_steps:
        raise ConfigError(
            f"eval.every_steps={config.eval.every_steps} is not a multiple of "
            f"checkpoint.every_steps={config.checkpoint.every_steps}: checkpoints are scored"
        )


def run(config: Config, workdir: Path, source: Source | None = None) -> Path:
    """Trains to `train.steps`, from the newest checkpoint in `workdir` if there is one.

    Args:
      source: the config's images, where they are open already.

    Returns:
      The last sample grid.

    Raises:
      ConfigError: something typed does not fit.
      CheckpointError: `workdir` holds another run, or no checkpoint in it is whole.
      LockedError: another process trains in `workdir`.
      SaveError: a checkpoint could not be written.
      Preempted: SIGTERM came; everything is saved.
      Diverged: numbers were not finite too often, or the game has collapsed.
    """
    source = source or data.load(config.data, config.model.image_size)
    config = data.resolve(config, source)
    check(config)
    devices = Devices(config.train.parallel)
    check_split(
        devices.count,
        batch_size=config.train.batch_size,
        accumulate_steps=config.train.accumulate_steps,
        batch_norm_group=config.model.batch_norm_group,
    )
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        stop.nothing_to_lose = True

        def own() -> int:
            workdir.mkdir(parents=True, exist_ok=True)
            held = lock.Lock(workdir, config.name, config.guard.lock_seconds)
            stack.enter_context(held)
            stop.before_exit = held.release
            claim(workdir, config)
            return quarantine.resume(workdir)

        step = broadcast_from_main(own)
        me = jax.process_index(), jax.process_count()
        watchdog = Watchdog(workdir, config.guard.watchdog_seconds, step, *me)
        stack.enter_context(watchdog)
        return _Run(config, source, workdir, devices, step, stop, watchdog).loop()


_copied = jax.jit(functools.partial(jax.tree.map, jnp.copy))


class _Run:
    """What the loop holds while it runs."""

    def __init__(
        self,
        config: Config,
        source: Source,
        workdir: Path,
        devices: Devices,
        step: int,
        stop: StopRequest,
        watchdog: Watchdog,
    ):
        self.config, self.source, self.workdir, self.devices = config, source, workdir, devices
        self.step, self.stop, self.watchdog = step, stop, watchdog
        self.goodput = Goodput(workdir, step)
        # From a step between dispatches, saved on a CPU or by smaller ones, on by single steps.
        several = jax.default_backend() != "cpu" and step % config.train.steps_per_dispatch == 0
        self.per_dispatch = config.train.steps_per_dispatch if several else 1
        gan = train_step.build(config, devices.count)
        self.checkpoints = Checkpoints(
            workdir, config.checkpoint, lambda: self.guard.worth_keeping()
        )
        self.saved, self.unscored = step if step else None, False
        self.evaluator = None
        if config.eval.every_steps or config.eval.at_end:
            # Now, so that what cannot be scored is reported before hours of training.
            with self._during("evaluation"):
                self.evaluator = evaluator.evaluator_of(config)
                self.evaluator.check(config.eval.num_images, config.model.num_classes is not None)
        make = functools.partial(train_step.init, gan)
        abstract = devices.abstract(make)
        state = self._restore(abstract) if step else None
        self.goodput.switch("compile")
        # Long and longest parts of a start, both under way while Python goes on.
        created = devices.create_in_background(make) if state is None else None
        self.pipeline = Pipeline(Feed.of(config, config.train.d_steps_per_g_step), source, devices)
        program = functools.partial(train_step.program, gan)
        self.train = devices.compile(program, Pipeline.BATCH_AXIS)
        self.ahead = None
        if step < config.train.steps and devices.compiles_in_background:
            call = abstract, self.pipeline.data, self.pipeline.abstract(self.per_dispatch)
            self.ahead = compile_in_background(self.train, *call)
        self.state = created.result() if created else state
        about = self.checkpoints.about(step) if step else {}
        self.guard = guard.Guard(config, workdir, source, devices, self.state, about.get("guard"))
        self.speed = live.Speed(config, self.per_dispatch)

    @contextlib.contextmanager
    def _during(self, part: str):  # noqa: ANN202
        """Counts what is done here as `part`, and gives it the longer time."""
        slow, self.watchdog.slow = self.watchdog.slow, True
        self.watchdog.beat(self.step)
        try:
            with self.goodput.during(part):
                yield
        finally:
            self.watchdog.beat(self.step)
            self.watchdog.slow = slow

    def _restore(self, abstract: train_step.TrainState) -> train_step.TrainState:
        self.checkpoints.require_classes(self.step, self.source.class_names)
        if is_main():
            print(f"resuming {self.workdir} from step {self.step}", file=sys.stderr)
        return self.checkpoints.restore(self.step, abstract)

    def loop(self) -> Path:
        """Runs to the end; closes what it opened, however it ends."""
        main = is_main()
        self.scalars = Scalars(self.workdir, self.step) if main else None
        self.progress = Progress(
            "train", self.config.train.steps, done=self.step, unit="steps", enabled=main
        )
        try:
            if self.step and broadcast_from_main(self._owes_score):
                self._evaluate()
            with jax.transfer_guard("disallow"):
                self._steps()
        finally:
            self.progress.close()
            with self._during("checkpoint"):
                self.checkpoints.wait()
            self.checkpoints.close()
            if self.scalars:
                self.scalars.close()
        if self.config.eval.at_end and self.saved is not None:
            if self.unscored or broadcast_from_main(self._lacks_score):
                self._evaluate()
        if main:
            print(f"sagan: {self.goodput.line()}", file=sys.stderr)
        return grids.path_of(self.workdir, self.step)

    def _owes_score(self) -> int:
        """Says whether an earlier process ended between a save and its score."""
        every = self.config.eval.every_steps
        return int(every > 0 and self.step % every == 0 and self._lacks_score())

    def _lacks_score(self) -> int:
        assert self.evaluator is not None  # asked only where scores are wanted
        return int(not evaluate.is_scored(self.workdir, self.step, self.evaluator))

    def _steps(self) -> None:
        feed, detail, beginning = self.pipeline.batches(self._dispatches()), "", None
        if self.step == 0 and self.config.sample.every_steps:
            state = self.devices.local(self.state)  # which the first step takes
            beginning = _copied((state.ema, state.g.stats["spectral_stats"]))
        if self.ahead is not None:
            self.ahead.result()
        since, since_step = time.perf_counter(), self.step
        while self.step < self.config.train.steps:
            with self.goodput.during("input"):
                batch = next(feed)
            self.state, scalars = self.train(self.state, self.pipeline.data, batch)
            self.step += self.per_dispatch
            self._move_on()
            self.guard.dispatched(self.step, scalars)
            if beginning is not None:
                beginning = self._draw_first(*beginning)
            if self._due(self.config.log.every_steps):
                values = self.guard.logged(self.step, self.devices.fetch(scalars))
                rate = (self.step - since_step) / (time.perf_counter() - since)
                call = self.train, self.state, self.pipeline.data, batch
                values |= self.speed.figures(rate, *call)
                since, since_step = time.perf_counter(), self.step
                if self.scalars:
                    self.scalars.write(self.step, values | self.goodput.scalars())
                detail = live.detail(values)
            self.progress.update(self.step, detail)
            with jax.transfer_guard("allow"):
                before = time.perf_counter()
                self._maybe(self.step)
                since += time.perf_counter() - before  # not the training's time
                if self.guard.ends:
                    self._save()
                    raise self.guard.end(self.step)
                if self.step < self.config.train.steps and self.stop.reached(self.step):
                    self._save()
                    raise Preempted(f"saved step {self.step} of {self.workdir}")

    def _dispatches(self) -> list[tuple[int, int]]:
        each, last = self.per_dispatch, self.config.train.steps
        return [(step, each) for step in range(self.step, last - each + 1, each)]

    def _move_on(self) -> None:
        """Notes a dispatched step: its program is compiled, and there is something to lose."""
        self.watchdog.beat(self.step)
        self.checkpoints.check()
        if self.watchdog.slow:
            self.watchdog.slow = self.stop.nothing_to_lose = False
            self.goodput.switch("step")
            if is_main():
                print(f"sagan: {self.goodput.begun()}", file=sys.stderr)

    def _due(self, every: int) -> bool:
        return every > 0 and (self.step % every == 0 or self.step == self.config.train.steps)

    def _draw_first(self, ema: Any, spectral_stats: Any) -> None:
        """Draws the sheet of step 0, while the first step is under way: nobody waits for noise."""
        with jax.transfer_guard("allow"), self._during("sample"):
            self._draw(0, sampler.refresh(self.config, ema, spectral_stats, batches=1))

    def _draw(self, step: int, variables: Any) -> None:
        draw = functools.partial(grids.draw, self.config, variables, self.workdir, step)
        self.guard.drawn(step, draw)

    def _maybe(self, step: int) -> None:
        """Samples, saves and evaluates where `step` is due for it."""
        config = self.config
        sample = self._due(config.sample.every_steps)
        save = self._due(config.checkpoint.every_steps) and self.saved != step
        if not (sample or save):
            return
        self.guard.land()
        with self._during("sample" if sample else "checkpoint"):
            variables = self._variables()
            if sample:
                self._draw(step, variables)
        if save:
            self._save(variables)
            if config.eval.every_steps and step % config.eval.every_steps == 0:
                self._evaluate()

    def _variables(self) -> Any:
        state = self.devices.local(self.state)
        return sampler.refresh(self.config, state.ema, state.g.stats["spectral_stats"])

    def _save(self, variables: Any = None) -> None:
        if self.saved == self.step:
            return
        self.guard.land()
        with self._during("checkpoint"):
            variables = self._variables() if variables is None else variables
            about = {"step": self.step, "class_names": list(self.source.class_names)}
            about["guard"] = self.guard.memory(self.step)
            state = self.devices.to_global(self.state)
            self.checkpoints.save(self.step, state, self.devices.replicate(variables), about)
        self.saved, self.unscored = self.step, True

    def _evaluate(self) -> None:
        """Scores the step that was saved last; being stopped meanwhile loses nothing."""
        with self._during("checkpoint"):
            self.checkpoints.wait()
        self.progress.close()
        before, self.stop.nothing_to_lose = self.stop.nothing_to_lose, True
        self.stop.leave_if_asked()
        with self._during("evaluation"):
            evaluate.run(self.workdir, step=self.step, evaluator=self.evaluator)
        self.stop.nothing_to_lose, self.unscored = before, False
