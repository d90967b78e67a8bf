"""Starts a training somewhere: on this machine, on a cluster or in a cloud. Imports no jax.

The module of a target has

* `HELP`, one line for the command line;
* `CLOUD`, whether its machines cannot read the files of this machine;
* `add_arguments(parser)`;
* `plan(launch, args) -> Plan`, which returns files and commands, and changes nothing.

Its templates are files of the folder `launch/` beside the package, with `{{NAME}}` where a value
goes. They describe only where a training runs; its settings are in the command that is filled in.
"""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sagan.config import Config, ConfigError, presets
from sagan.config.as_json import leaves
from sagan.config.fields import require

# libtpu and multislice listen on 8471-8476, 8431 and 8080.
COORDINATOR_PORT = 8482

# After these exit codes a training is started again: it was preempted and has saved, or a signal,
# the watchdog or the machine ended it. After all others (1 crash, 2 config, 3 diverged, 4 no usable
# checkpoint) it would only fail again.
RETRY_CODES = (42, *range(127, 256))


class Launch(NamedTuple):
    """The training to start: the same for every target.

    Attributes:
      config: the name of a preset, or the path of a .py file, as typed.
      resolved: the config with the overrides.
    """

    run_id: str
    workdir: str
    config: str
    overrides: tuple[str, ...]
    resolved: Config


class Plan(NamedTuple):
    """The files and commands that start a training.

    Attributes:
      files: the text to write to each path.
      commands: run in this order, after the files are written.
      start: carries out a plan (`submit`, or the target's own way); returns the exit status.
      notes: printed at the end.
      machine: what the training runs on, as `cost.machine` takes it; None if that is not known.
    """

    files: Mapping[Path, str]
    commands: Sequence[Sequence[str]]
    start: Callable[["Plan"], int]
    notes: str = ""
    machine: str | None = None


def submit(plan: Plan) -> int:
    """Writes the files and runs the commands; returns the first exit status that is not 0.

    Raises: ConfigError if a command is not installed.
    """
    write_files(plan)
    for command in plan.commands:
        try:
            status = subprocess.run(command, check=False).returncode
        except FileNotFoundError:
            raise ConfigError(f"{command[0]} is not installed here (or not in PATH)") from None
        if status:
            return status if status > 0 else 128 - status
    if plan.notes:
        print(plan.notes)
    return 0


def write_files(plan: Plan) -> None:
    for path, text in plan.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def show(plan: Plan) -> str:
    """Returns the plan as text: all files with their text, then all commands."""
    parts = [f"# file {path}\n{text}" for path, text in plan.files.items()]
    parts += [f"# command\n{shlex.join(command)}\n" for command in plan.commands]
    return "\n".join(parts)


def launch_folder() -> Path:
    """Returns the folder of templates: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "_launch"
    return inside if inside.is_dir() else package.parent / "launch"


def render(template: str, values: Mapping[str, object]) -> str:
    """Returns a template of the launch folder with its values.

    Raises: ValueError if the template has a name that `values` lacks, or the reverse.
    """
    text = (launch_folder() / template).read_text()
    named = set(re.findall(r"\{\{(\w+)\}\}", text))
    if named != set(values):
        raise ValueError(f"{template}: template and values differ in {sorted(named ^ set(values))}")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: str(values[match.group(1)]), text)


def train_arguments(launch: Launch) -> list[str]:
    """Returns the arguments of `sagan` on a machine that sees the same files as this one."""
    config = launch.config
    if config.endswith(".py"):
        config = str(Path(config).absolute())
    return ["train", config, *launch.overrides, "--workdir", launch.workdir]


def travelling_arguments(launch: Launch) -> list[str]:
    """Returns the arguments of `sagan` on a machine with the same package but no files of the user.

    A preset is passed by name. A config file is passed as the preset that differs least from it,
    with overrides for the differences.

    Raises: ConfigError if no overrides can express the differences.
    """
    if not launch.config.endswith(".py"):
        return ["train", launch.config, *launch.overrides, "--workdir", launch.workdir]
    candidates = []
    for name in presets.preset_names():
        base = dict(leaves(presets.preset(name)))
        different = {k: v for k, v in leaves(launch.resolved) if v != base[k]}
        candidates.append((len(different), name, different))
    _, name, different = min(candidates, key=lambda c: c[:2])
    overrides = [f"{key}={_as_text(value)}" for key, value in different.items()]
    require(
        presets.load(name, overrides) == launch.resolved,
        f"{launch.config}: cannot be written as overrides of preset {name}; "
        "put it into the image as a preset and launch that",
    )
    return ["train", name, *overrides, "--workdir", launch.workdir]


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ",".join(map(str, value)) + ")"
    return "none" if value is None else str(value)


def sagan_command() -> list[str]:
    """Returns the command line of `sagan` in this process's environment."""
    return [sys.executable, "-m", "sagan"]


def require_plain_path(path: str, where: str) -> None:
    """Raises: ConfigError if `path` has characters that a template would have to quote."""
    require(
        re.fullmatch(r"[\w./+=@:,-]+", path) is not None,
        f"{where}={path!r}; allowed: letters, digits and ./+=@:,-_",
    )


def require_dns_label(name: str, where: str = "--run-id") -> None:
    """Raises: ConfigError if `name` cannot name a cloud resource."""
    require(
        re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name) is not None,
        f"{where} {name!r}; allowed here: lower-case letters, digits and -, "
        "a letter first, at most 40",
    )


def require_even_batches(launch: Launch, devices: int) -> None:
    """Raises: ConfigError if the batch does not divide among `devices`."""
    train = launch.resolved.train
    accumulate = getattr(train, "accumulate_steps", 1)  # only some tasks process parts of a batch
    parts = devices * accumulate
    hint = f" with train.accumulate_steps={accumulate}" * (accumulate > 1)
    require(
        train.batch_size % parts == 0,
        f"train.batch_size={train.batch_size} is not divisible by {devices} devices{hint}",
    )


def add_image(parser: argparse.ArgumentParser) -> None:
    """Adds the argument of all targets that run a container."""
    parser.add_argument("--image", required=True, help="container built from launch/Dockerfile")
