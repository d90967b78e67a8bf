"""Builds the parts of a run from its config, each after those that it depends on."""

import contextlib
import dataclasses
import functools
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import jax

from sagan import data, tasks
from sagan.config import Config, ConfigError, GuardConfig
from sagan.data import Source, contents
from sagan.data.pipeline import Feed, Pipeline, decode
from sagan.evaluation import Scorer, ScoreSpec
from sagan.files import places
from sagan.parallel import processes
from sagan.parallel.devices import Devices, check_split, compile_in_background
from sagan.parallel.platform import Platform
from sagan.runs import checkpoint, recovery, trackers
from sagan.runs.checkpoint import Checkpoints
from sagan.runs.lock import Lock
from sagan.runs.logs import RunLog
from sagan.tasks import Task
from sagan.training import dispatch, start_from, state
from sagan.training.dispatch import Cadence
from sagan.training.goodput import Goodput
from sagan.training.health import RunHealth
from sagan.training.phase import Activity, Phase
from sagan.training.speed import Speed
from sagan.training.state import RunState
from sagan.training.stop import StopRequest
from sagan.training.watchdog import Watchdog


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts of a run that the training loop uses.

    Attributes:
      vocabulary: words of the source's captions; () if it has none.
      images: what the run is trained on, from `data.contents`.
      step: number of steps taken by the state that the run starts from.
      score_at_end: score the last checkpoint when training has ended.
      steps_per_dispatch: 1 on CPUs, where several would only delay the next log line.
      program: maps (state, data, batch) to (state, scalars), over all devices.
      compiled: is done when the program of the first dispatch has been compiled; None if the
        program compiles at its first call.
      open_log: opens the log and its trackers; only the first process may call it.
      scorer: None if the config asks for no scores.
    """

    workdir: Path
    class_names: tuple[str, ...]
    vocabulary: tuple[str, ...]
    images: dict[str, str]
    devices: Devices
    task: Task
    stop: StopRequest
    activity: Activity
    goodput: Goodput
    watchdog: Watchdog
    checkpoints: Checkpoints
    scorer: Scorer | None
    pipeline: Pipeline
    program: Callable[..., Any]
    compiled: Future[Any] | None
    step: int
    steps_per_dispatch: int
    cadence: Cadence
    score_at_end: bool
    state: RunState
    health: RunHealth
    speed: Speed
    open_log: Callable[[], RunLog]


def resolve(config: Config, source: Source | None = None) -> tuple[Config, Source]:
    """Opens the images and completes the config from them.

    Raises: ConfigError for everything that can be checked without devices.
    """
    trackers.check(config.log.trackers)
    source = source or data.load(config.data, config.model.image_size)
    config = data.resolve(config, source)
    tasks.check(config)
    return config, source


def writable(workdir: Path) -> Path:
    """Makes a work directory, if it is not there yet, and returns it with `~` replaced.

    Raises: ConfigError if it is a URL, has a name that Orbax cannot use, or cannot be written to.
    """
    workdir = places.local(workdir)
    if "[" in str(workdir.absolute()):  # Orbax would read the name as a pattern
        raise ConfigError(f"work directory {workdir.absolute()}; allowed: paths without '['")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"work directory {workdir} cannot be written: {error.strerror}"
        ) from error
    return workdir


def require_divisible(config: Config, devices: Devices) -> None:
    """Raises: ConfigError if the batch, or batch norm's groups, do not divide over the devices."""
    check_split(
        devices.count,
        batch_size=config.train.batch_size,
        accumulate_steps=getattr(config.train, "accumulate_steps", 1),
        batch_norm_group=getattr(config.model, "batch_norm_group", None),
    )


@contextlib.contextmanager
def prepare(
    config: Config,
    workdir: Path,
    source: Source,
    hardware: Platform,
    *,
    owns_process: bool = True,
    init_from: Path | None = None,
) -> Iterator[Parts]:
    """Opens everything that training needs, and closes it at the end of the block.

    Args:
      config, source: as `resolve` returned them.
      hardware: decides how many steps a dispatch runs, and which peak the speed is compared with.
      owns_process, init_from: as for `training.run`.

    Raises: as `training.run`.
    """
    workdir = places.local(workdir)
    origin = None if init_from is None else start_from.find(places.local(init_from), config)
    devices = Devices(config.train.parallel)
    require_divisible(config, devices)
    with contextlib.ExitStack() as stack:
        activity = Activity(Phase.COMPILING)
        stop = stack.enter_context(StopRequest(activity, listens=owns_process))
        step = processes.broadcast_from_main(lambda: _claim(config, workdir, stack))
        activity.switch(Phase.RESTORING if step else Phase.COMPILING)
        goodput = Goodput(workdir, step, activity)
        seconds = config.guard.watchdog_seconds if owns_process else 0
        me = jax.process_index(), jax.process_count()
        watchdog = stack.enter_context(Watchdog(workdir, seconds, step, activity, *me))

        task = tasks.build(config, devices.count)
        checkpoints = Checkpoints(workdir, config.checkpoint)
        stack.callback(checkpoints.close)
        with activity.during(Phase.SCORING):
            scorer = _scorer(config, task)

        make = functools.partial(state.init, task, config.seed)
        abstract = devices.abstract(make)
        images = contents.of(source)
        if step:
            _require_same_images(checkpoints, workdir, step, source, images, config.guard)
        restored: Any = _restore(checkpoints, workdir, step, abstract) if step else None
        activity.switch(Phase.COMPILING)
        # The first state and the program are compiled in background threads while the data opens.
        created = devices.create_in_background(make) if restored is None else None

        pipeline = Pipeline(Feed.of(config, task.batches_per_step), source, devices)
        program = dispatch.bind(task, decoder_of(config))
        program = devices.compile(program, Pipeline.BATCH_AXIS)
        on_cpu = hardware.backend == "cpu"
        per_dispatch = 1 if on_cpu else config.train.steps_per_dispatch
        cadence = Cadence.of(config)
        first = next(dispatch.plan(step, per_dispatch, cadence), None)
        compiled = None
        if first is not None and devices.compiles_in_background:
            call = abstract, pipeline.data, pipeline.abstract(first[1])
            compiled = compile_in_background(program, *call)

        start: Any = restored
        if created is not None:
            start = created.result()
            start = start._replace(task=task.pretrained(start.task, devices.replicate))
        if origin is not None and step == 0:
            start = _start_from(origin, start, devices, workdir)
        memory = checkpoints.about(step).get("guard") if step else None
        watcher = task.health(config.guard, source, memory)
        health = RunHealth(workdir, config, task.watched, watcher, devices, start)
        speed = Speed(config.train.batch_size * task.batches_per_step, hardware)
        names, words = tuple(source.class_names), data.vocabulary_of(source)
        open_log = functools.partial(_log, workdir, config, step)
        yield Parts(
            workdir, names, words, images, devices, task, stop, activity, goodput, watchdog,
            checkpoints, scorer, pipeline, program, compiled, step, per_dispatch, cadence,
            config.eval.at_end, start, health, speed, open_log,
        )  # fmt: skip


def _log(workdir: Path, config: Config, step: int) -> RunLog:
    return RunLog(workdir, step, trackers.start(workdir, config, step))


def _claim(config: Config, workdir: Path, stack: contextlib.ExitStack) -> int:
    """Makes the work directory this run's; returns the step to continue from, 0 if it is new."""
    workdir.mkdir(parents=True, exist_ok=True)
    stack.enter_context(Lock(workdir, config.name, config.guard.lock_seconds))
    checkpoint.claim(workdir, config)
    return recovery.resume(workdir)


def _require_same_images(
    checkpoints: Checkpoints,
    workdir: Path,
    step: int,
    source: Source,
    images: dict[str, str],
    guard: GuardConfig,
) -> None:
    """Raises: CheckpointError for other classes; ConfigError for other images, unless allowed."""
    checkpoints.require_classes(step, source.class_names)
    words = tuple(checkpoints.about(step).get("vocabulary", ()))
    if words != data.vocabulary_of(source):
        raise ConfigError(
            f"step {step} of {workdir} was trained on captions with {len(words)} words, and the "
            f"captions now have {len(data.vocabulary_of(source))}, or others; restore them"
        )
    before = checkpoints.about(step).get("images")  # versions before this one did not store it
    changed = contents.changes(before, images) if before is not None else ""
    text = f"the images differ from those that step {step} of {workdir} was trained on: {changed}"
    if changed and not guard.images_may_change:
        raise ConfigError(
            f"{text}. Restore them, or continue on these with guard.images_may_change=true"
        )
    if changed and processes.is_main():
        print(f"sagan: warning: {text}", file=sys.stderr)


def _restore(checkpoints: Checkpoints, workdir: Path, step: int, abstract: RunState) -> RunState:
    if processes.is_main():
        print(f"resuming {workdir} from step {step}", file=sys.stderr)
    return checkpoints.restore(step, abstract)


def _start_from(
    origin: start_from.Start, first: RunState, devices: Devices, workdir: Path
) -> RunState:
    adopted, report = start_from.adopt(origin, first, devices)
    if processes.is_main():
        start_from.write(workdir, origin, report)
        print(
            f"{report}\nsagan: {len(report.taken)} tensors are taken from step {origin.step} of "
            f"{origin.workdir}; this list is in {workdir / start_from.REPORT}",
            file=sys.stderr,
        )
    return adopted


def _scorer(config: Config, task: Task) -> Scorer | None:
    """Opens what scoring needs, so that its errors are reported before training."""
    if not (config.eval.every_steps or config.eval.at_end):
        return None
    scorer = task.scorer(ScoreSpec.of(config.eval))
    scorer.check()
    return scorer


def decoder_of(config: Config) -> dispatch.Decode:
    """Returns `data.pipeline.decode` with the settings of a config."""
    return functools.partial(decode, config.data, config.model.num_classes is not None)
