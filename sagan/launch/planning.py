"""Makes the plan of a `sagan launch` command."""

import argparse
import importlib
from typing import Any

from sagan.config import presets
from sagan.config.arguments import not_negative, positive
from sagan.config.fields import require
from sagan.files import places
from sagan.launch import Launch, Plan, require_dns_label

TARGETS = ("local", "slurm", "gke", "tpu-vm", "sky")


def target(name: str) -> Any:
    """Returns the module of a target; `sagan.launch` describes it."""
    return importlib.import_module(f"sagan.launch.{name.replace('-', '_')}")


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of all targets."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CONFIG section.field=value",
        help="preset or path to a .py (default digits), then overrides",
    )
    parser.add_argument("--run-id", help="names the run and its directory (default: config's name)")
    parser.add_argument(
        "--workdir", metavar="DIR", help="default: runs/RUN_ID, in clouds /runs/RUN_ID"
    )
    parser.add_argument("--dry-run", action="store_true", help="only print all files and commands")
    parser.add_argument(
        "--max-restarts",
        type=not_negative,
        metavar="N",
        help="most restarts after exit code 42 (preempted) or 127 to 255 (killed, hung) "
        "(default: local 0, sky 3, elsewhere 50)",
    )
    parser.add_argument(
        "--grace-seconds",
        type=positive,
        default=120,
        metavar="S",
        help="time from SIGTERM until a process is killed; must suffice for one step and one save "
        "(default 120)",
    )


def plan_for(args: argparse.Namespace) -> Plan:
    """Resolves the config and returns the plan of the target's module.

    Raises: ConfigError if the config or an argument of the target is wrong.
    """
    return target(args.target).plan(launch_for(args), args)


def launch_for(args: argparse.Namespace) -> Launch:
    """Loads the config, and derives the run id and, from it, the work directory."""
    words = list(args.words)
    config = words.pop(0) if words and "=" not in words[0] else "digits"
    resolved = presets.load(config, words)
    cloud = target(args.target).CLOUD
    run_id = args.run_id
    if run_id is None:
        run_id = resolved.name.lower().replace("_", "-") if cloud else resolved.name
    if cloud:
        require_dns_label(run_id)
    require(
        "/" not in run_id and run_id not in ("", ".", ".."),
        f"--run-id {run_id!r}; allowed: the name of a folder, without /",
    )
    workdir = args.workdir or (f"/runs/{run_id}" if cloud else f"runs/{run_id}")
    places.local(workdir)
    require(
        not cloud or workdir.startswith("/runs/"),
        f"--workdir {workdir}; allowed here: a folder of /runs, the storage that all hosts share",
    )
    return Launch(run_id, workdir, config, tuple(words), resolved)
