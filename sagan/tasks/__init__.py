"""What is learned. Each task is one folder here, found by the name in `config.task`.

The training loop, checkpoints, launchers and evaluation know a task only as the `Task` below: they
know nothing of the networks inside. A task's module defines

    check(config) -> None                   # raises ConfigError; needs no device
    build(config, num_devices) -> Task

may define `VERB`, the verb of the command line that uses a checkpoint (`sample` if absent), and
may define the sections `optim` and `train` of its configs, as subclasses called `OptimConfig`
and `TrainConfig` of those in `sagan.config`. The sections of `gan`, the default task, are there as
`GanOptimConfig` and `GanTrainConfig`, so that its configs are read without importing the task.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from sagan.config import Config, ConfigError, GuardConfig, plugins
from sagan.data import Source
from sagan.data.pipeline import Batch
from sagan.evaluation import Sampler, Scorer, ScoreSpec

State = Any  # any pytree; the state of an optimizer is in a field called opt_state
Variables = Any  # any pytree
Scalars = dict[str, Float[Array, ""]]


class Preview(NamedTuple):
    """What a run shows of its progress.

    Attributes:
      picture: becomes `samples/<step>.png`.
      about: stored as JSON in that file.
    """

    picture: UInt8[np.ndarray, "H W 3"]
    about: dict[str, Any]
    images: UInt8[np.ndarray, "N S S 3"]
    labels: Int[np.ndarray, " N"] | None


@runtime_checkable
class Health(Protocol):
    """Watches scalars and previews for signs that training has gone wrong.

    Every process holds one, shows it the same things in the same order, and so comes to the same
    conclusions.

    Attributes:
      alarms: what is wrong at present, by kind, each in a sentence.
      last_healthy_step: the newest step that was saved while there was no alarm.
    """

    @property
    def alarms(self) -> Mapping[str, str]: ...

    @property
    def last_healthy_step(self) -> int | None: ...

    def look(self, scalars: Mapping[str, float]) -> list[str]:
        """Looks at one log line; returns the alarms that are new."""
        ...

    def measure(self, preview: Preview) -> Any:
        """Reduces a preview to something that JSON can hold; only the first process does it."""
        ...

    def see(self, step: int, measured: Any) -> list[str]:
        """Looks at what the first process measured at a step; returns the alarms that are new."""
        ...

    def scalars(self) -> dict[str, float]:
        """Returns what is added to a log line."""
        ...

    def memory(self, step: int) -> dict[str, Any]:
        """Returns what a run that resumes from `step` needs to know; called when that is saved."""
        ...


@runtime_checkable
class Task(Protocol):
    """What is trained.

    Attributes:
      batches_per_step: batches of real data that one step consumes.
      watched: scalars of a step that must be finite; otherwise the step changes nothing.
      headline: scalars that the progress line shows.
      unroll: several steps in one program are repeated there instead of in a compiled loop.
    """

    batches_per_step: int
    watched: tuple[str, ...]
    headline: tuple[str, ...]
    unroll: bool

    def init(self, keys: Sequence[Key[Array, ""]]) -> State:
        """Draws the first state from three independent keys."""
        ...

    def pretrained(self, state: State, place: Callable[[Any], Any]) -> State:
        """Puts weights that were trained elsewhere into a first state; most tasks have none.

        Args:
          place: puts host arrays where the state is.

        Raises: ConfigError if there are no such weights.
        """
        ...

    def step(
        self, state: State, batches: Batch, step: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[State, Scalars]:
        """Takes one training step on one device, under the named axis `data`; pure.

        Args:
          batches: this device's share, (batches_per_step, B, …).
          step: number of steps taken before this one.
          key: of this step, the same on all devices.

        Returns: the next state and scalars, both the same on all devices.
        """
        ...

    def telemetry(self, state: State) -> Scalars:
        """Returns scalars that are read off the state itself, once for each dispatch."""
        ...

    def snapshot(self, state: State) -> Any:
        """Returns the part of the state that `inference` reads."""
        ...

    def inference(self, snapshot: Any, *, quick: bool = False) -> Variables:
        """Returns the variables that sampling and evaluation use; stored beside the state.

        Args:
          quick: save time at the cost of accuracy, for a preview before the first step.
        """
        ...

    def lasting(self, state: State) -> Mapping[str, Any]:
        """Returns arrays by name that are kept for good when a step is saved; often none."""
        ...

    def preview(self, variables: Variables, step: int) -> Preview:
        """Draws what the run shows of itself."""
        ...

    def health(
        self, config: GuardConfig, source: Source, memory: Mapping[str, Any] | None
    ) -> Health:
        """Returns a watcher that continues from `memory`, or a new one if that is None."""
        ...

    def scorer(self, spec: ScoreSpec) -> Scorer:
        """Returns what computes the scores that `spec` asks for."""
        ...

    def load_sampler(self, workdir: Path, step: int, *, ema_sigma: float | None = None) -> Sampler:
        """Opens one checkpoint of a run for sampling.

        Args:
          ema_sigma: relative width of the average of the weights; None: the run's usual average.

        Raises: CheckpointError if there is no such checkpoint, or it is damaged; ConfigError if
          there is no such average.
        """
        ...

    def parameters(self, state: State) -> Mapping[str, Any]:
        """Returns the trained parameters by the name of the network."""
        ...

    def activation_bytes(self, batch_size: int) -> int:
        """Estimates the memory that a step keeps for its gradients, for so many images."""
        ...


def check(config: Config) -> None:
    """Checks a resolved config, before jax looks for devices or other processes.

    Raises: ConfigError if the task does not exist or its sections of the config do not fit.
    """
    plugins.load("tasks", config.task, field="task").check(config)


def verb_of(config: Config) -> str:
    """Returns the verb of the command line that checkpoints of the config's task are for."""
    return getattr(plugins.load("tasks", config.task, field="task"), "VERB", "sample")


def require_usual_average(config: Config, ema_sigma: float | None) -> None:
    """Raises: ConfigError if a width is given, for tasks that keep one average only."""
    if ema_sigma is not None:
        raise ConfigError(f"--ema-sigma with task={config.task}; allowed: runs of task=gan")


def require_verb(config: Config, verb: str) -> None:
    """Raises: ConfigError unless `sagan VERB` is what checkpoints of the config's task are for."""
    own = verb_of(config)
    if own != verb:
        raise ConfigError(
            f"sagan {verb} cannot use this run, whose task is {config.task}; use sagan {own}"
        )


def build(config: Config, num_devices: int = 1) -> Task:
    """Returns the task of a resolved config, for a program that runs on so many devices.

    Raises: ConfigError if the task does not exist or its sections of the config do not fit.
    """
    return plugins.load("tasks", config.task, field="task").build(config, num_devices)
