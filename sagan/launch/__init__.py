"""Where a job runs: one file is one target of `sagan launch`.

A target's module has `plan(job, args) -> Plan`: the files to write, and the commands to run after
that. Planning touches nothing, so a dry run prints a plan and stops. Templates are files of the
folder `launch/`, with `{{NAME}}` where a value goes; they say where a job runs, never what it is.
"""

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

# Not 8471-8476, 8431 or 8080: libtpu and multislice listen there.
COORDINATOR_PORT = 8482

# Saved and preempted, or ended by a signal, the watchdog or the machine: start again. All other
# codes (1 crash, 2 config, 3 diverged, 4 no usable checkpoint) would only fail again.
RETRY_CODES = (42, *range(127, 256))


class Job(NamedTuple):
    """What to run: the same for every target."""

    run_id: str
    workdir: str
    config: str  # preset name or path, as typed
    overrides: tuple[str, ...]
    resolved: Config


class Plan(NamedTuple):
    """Everything a launch would do, in order."""

    files: Mapping[Path, str]
    commands: Sequence[Sequence[str]]
    start: Callable[["Plan"], int]
    notes: str = ""


def submit(plan: Plan) -> int:
    """Writes the files, runs the commands, and returns the first status that is not 0."""
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
    """The whole plan as text: each file complete, then each command."""
    parts = [f"# file {path}\n{text}" for path, text in plan.files.items()]
    parts += [f"# command\n{shlex.join(command)}\n" for command in plan.commands]
    return "\n".join(parts)


def launch_folder() -> Path:
    """The folder of templates: beside the package in a checkout, inside it in a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "_launch"
    return inside if inside.is_dir() else package.parent / "launch"


def render(template: str, values: Mapping[str, object]) -> str:
    """Fills a template of the launch folder.

    Raises: ValueError if the template names a value that is not given, or the reverse.
    """
    text = (launch_folder() / template).read_text()
    named = set(re.findall(r"\{\{(\w+)\}\}", text))
    if named != set(values):
        raise ValueError(f"{template}: template and values differ in {sorted(named ^ set(values))}")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: str(values[match.group(1)]), text)


def train_arguments(job: Job) -> list[str]:
    """What follows `sagan` on a machine that sees the same files as this one."""
    config = job.config
    if config.endswith(".py"):
        config = str(Path(config).absolute())
    return ["train", config, *job.overrides, "--workdir", job.workdir]


def travelling_arguments(job: Job) -> list[str]:
    """What follows `sagan` on a machine with the same sagan but none of the user's files.

    A preset travels by name. A config file travels as the overrides that turn the nearest
    preset into it.
    """
    if not job.config.endswith(".py"):
        return ["train", job.config, *job.overrides, "--workdir", job.workdir]
    candidates = []
    for name in presets.preset_names():
        base = dict(leaves(presets.preset(name)))
        different = {k: v for k, v in leaves(job.resolved) if v != base[k]}
        candidates.append((len(different), name, different))
    _, name, different = min(candidates, key=lambda c: c[:2])
    overrides = [f"{key}={_as_text(value)}" for key, value in different.items()]
    require(
        presets.load(name, overrides) == job.resolved,
        f"{job.config}: cannot be written as overrides of preset {name}; "
        "put it into the image as a preset and launch that",
    )
    return ["train", name, *overrides, "--workdir", job.workdir]


def _as_text(value: object) -> str:
    if isinstance(value, tuple):
        return "(" + ",".join(map(str, value)) + ")"
    return "none" if value is None else str(value)


def python() -> list[str]:
    return [sys.executable, "-m", "sagan"]


def require_plain_path(path: str, where: str) -> None:
    """Raises: ConfigError if `path` has characters that job files would need to quote."""
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


def require_even_batches(job: Job, devices: int) -> None:
    """Raises: ConfigError if the batch does not divide among `devices`."""
    train = job.resolved.train
    parts = devices * train.accumulate_steps
    hint = f" with train.accumulate_steps={train.accumulate_steps}" * (train.accumulate_steps > 1)
    require(
        train.batch_size % parts == 0,
        f"train.batch_size={train.batch_size} is not divisible by {devices} devices{hint}",
    )
