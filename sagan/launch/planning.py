"""Starts a training on this machine, a cluster or a cloud; `--dry-run` prints the whole plan."""

import argparse
import importlib

from sagan.config import presets
from sagan.config.fields import require
from sagan.launch import Job, Plan, require_dns_label, show

_CLOUD_TARGETS = ("gke", "tpu-vm", "sky")  # their machines see none of the files here


def run(args: argparse.Namespace) -> int:
    """Plans the launch that was typed, and starts it unless `--dry-run` was given.

    Returns:
      The job's exit code where the launch waits for it (`local`, `tpu-vm`), else the submission's.

    Raises:
      ConfigError: the config, or what the target was told, cannot be; nothing was started.
    """
    plan = plan_for(args)
    if args.dry_run:
        print(show(plan), end="")
        return 0
    return plan.start(plan)


def plan_for(args: argparse.Namespace) -> Plan:
    """Resolves the config and asks the target's module for its plan."""
    target = importlib.import_module(f"sagan.launch.{args.target.replace('-', '_')}")
    return target.plan(job_for(args), args)


def job_for(args: argparse.Namespace) -> Job:
    """Checks the config and settles where the run lives: the same run id, the same directory."""
    config, overrides = _split(args.words)
    resolved = presets.load(config, overrides)
    cloud = args.target in _CLOUD_TARGETS
    run_id = args.run_id
    if run_id is None:
        run_id = resolved.name.lower().replace("_", "-") if cloud else resolved.name
    if cloud:
        require_dns_label(run_id)
    require(
        "/" not in run_id and run_id not in ("", ".", ".."),
        f"--run-id {run_id!r}; allowed: a plain folder name",
    )
    workdir = args.workdir or (f"/runs/{run_id}" if cloud else f"runs/{run_id}")
    require(
        not cloud or workdir.startswith("/runs/"),
        f"--workdir {workdir}; allowed here: a folder of /runs, the storage that all hosts share",
    )
    return Job(run_id, workdir, config, tuple(overrides), resolved)


def _split(words: list[str]) -> tuple[str, list[str]]:
    """Separates CONFIG, if there is one, from what follows it."""
    if words and "=" not in words[0]:
        return words[0], words[1:]
    return "digits", words
