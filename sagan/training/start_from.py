"""Starting a run from the weights of another one.

Every array of the new state that the other run has, under the same name and with the same shape, is
taken from there: weights, their averages, and statistics. Optimizer states are not: fine-tuning
starts with new ones, and with the learning rates of its own config at their first values.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax

from sagan.config import Config, ConfigError
from sagan.config.fields import require
from sagan.files import tables
from sagan.files.atomic import replace_text
from sagan.parallel.devices import Devices
from sagan.runs import checkpoint
from sagan.training import state

REPORT = "init_from.json"
_OPTIMIZER = "opt_state"  # the field of a task's state that holds an optimizer's


class Start(NamedTuple):
    """A checkpoint that weights are taken from."""

    workdir: Path
    config: Config
    step: int


def find(workdir: Path, config: Config) -> Start:
    """Finds the newest whole checkpoint of another run, before anything slow starts.

    Args:
      config: of the run that is to start from it.

    Raises: CheckpointError if there is none; ConfigError if it is a run of another task.
    """
    other = checkpoint.read_config(workdir)
    require(
        other.task == config.task,
        f"--init-from {workdir} is a run of task={other.task}; allowed: runs of {config.task}",
    )
    return Start(workdir, other, checkpoint.pick(workdir, None, ["state"]))


class Report(NamedTuple):
    """Names of arrays by what happened to them."""

    taken: list[str]
    other_shape: dict[str, str]
    new: list[str]
    not_used: list[str]

    def __str__(self) -> str:
        rows = [(name, "taken") for name in self.taken]
        rows += [(name, f"new; {why}") for name, why in self.other_shape.items()]
        rows += [(name, "new; the other run has none") for name in self.new]
        rows += [(name, "not used; this run has none") for name in self.not_used]
        return tables.table(sorted(rows), ("tensor", "what happened"))


def adopt(start: Start, first: state.RunState, devices: Devices) -> tuple[state.RunState, Report]:
    """Returns the first state of a run with the weights of another one.

    Args:
      first: as drawn from the run's own seed.

    Raises: ConfigError if nothing has the same name and shape.
    """
    other = checkpoint.restore_state(start.workdir, start.step, devices.replicated)["task"]
    theirs = {
        _name(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(other)
        if not _is_optimizer(path)
    }
    report = Report([], {}, [], [])

    def choose(path: Any, ours: jax.Array) -> jax.Array:
        name = _name(path)
        if _is_optimizer(path):
            return ours
        if name not in theirs:
            report.new.append(name)
            return ours
        found = theirs.pop(name)
        if (found.shape, found.dtype) != (ours.shape, ours.dtype):
            report.other_shape[name] = f"shape {ours.shape}, there {found.shape}"
            return ours
        report.taken.append(name)
        return found

    adopted = jax.tree_util.tree_map_with_path(choose, first.task)
    report.not_used.extend(theirs)
    if not report.taken:
        raise ConfigError(f"--init-from {start.workdir} has no tensor that this run has as well")
    return first._replace(task=adopted), report


def write(workdir: Path, start: Start, report: Report) -> None:
    """Writes the report as JSON into the new run's work directory."""
    about = {"workdir": str(start.workdir.absolute()), "step": start.step}
    replace_text(workdir / REPORT, json.dumps(about | report._asdict(), indent=2))


def _is_optimizer(path: Any) -> bool:
    return any(getattr(part, "name", getattr(part, "key", None)) == _OPTIMIZER for part in path)


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
