"""TPU VMs as a queued resource: a start-up script on every worker, a watch script here."""

import argparse
import re
import shlex
from pathlib import Path

from sagan.config.arguments import positive
from sagan.config.fields import require
from sagan.launch import (
    COORDINATOR_PORT,
    Launch,
    Plan,
    add_image,
    cost,
    render,
    require_even_batches,
    require_plain_path,
    submit,
    travelling_arguments,
)

# For each prefix of a type: what its number counts per chip (of v4 and v5p: two cores), the
# runtime, and the generation. Source: cloud.google.com/tpu/docs/runtimes and the pages of each
# generation.
_TYPES = {
    "v4-": (2, "tpu-ubuntu2204-base", "v4"),
    "v5p-": (2, "v2-alpha-tpuv5", "v5p"),
    "v5litepod-": (1, "v2-alpha-tpuv5-lite", "v5e"),
    "v6e-": (1, "v2-alpha-tpuv6e", "v6e"),
}

HELP = "TPU VMs through queued resources, created again when preempted"
CLOUD = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument("--zone", required=True)
    parser.add_argument("--project", help="default: the project of gcloud")
    parser.add_argument("--accelerator-type", default="v4-32", metavar="TYPE")
    parser.add_argument("--runtime-version", help="default: by accelerator type")
    parser.add_argument("--nfs", required=True, metavar="HOST:/SHARE", help="to mount at /runs")
    parser.add_argument("--spot", action="store_true")
    parser.add_argument("--poll-seconds", type=positive, default=60, metavar="S")
    parser.add_argument("--evaluator", action="store_true", help="also evaluate, on worker 0's CPU")


def plan(launch: Launch, args: argparse.Namespace) -> Plan:
    """Returns a plan with two scripts, and a command that watches until the training ends."""
    chips, runtime, generation = accelerator(args.accelerator_type)
    require_even_batches(launch, chips)
    for name in ("image", "nfs", "zone"):
        require_plain_path(getattr(args, name), f"--{name}")
    require(":/" in args.nfs, f"--nfs {args.nfs}; allowed: HOST:/SHARE")
    require_plain_path(launch.workdir, "--workdir")
    bound = 50 if args.max_restarts is None else args.max_restarts
    where = [f"--zone={args.zone}"] + ([f"--project={args.project}"] if args.project else [])
    evaluator = ""
    if args.evaluator:
        values = {"IMAGE": args.image, "WORKDIR": launch.workdir}
        evaluator = render("tpu-vm/evaluator.inc", values)
    startup = render(
        "tpu-vm/startup.sh",
        {
            "RUN_ID": launch.run_id,
            "NFS": args.nfs,
            "IMAGE": args.image,
            "ARGUMENTS": _for_systemd(travelling_arguments(launch)),
            "STARTS": bound + 1,
            "PORT": COORDINATOR_PORT,
            "GRACE": args.grace_seconds,
            "STOP": args.grace_seconds + 30,
            "EVALUATOR": evaluator,
        },
    )
    watch = render(
        "tpu-vm/watch.sh",
        {
            "RUN_ID": launch.run_id,
            "MAX_RESTARTS": bound,
            "WHERE": shlex.join(where),
            "TYPE": args.accelerator_type,
            "RUNTIME": shlex.quote(args.runtime_version or runtime),
            "SPOT": "--spot" if args.spot else "",
            "POLL": args.poll_seconds,
        },
    )
    folder = Path("runs") / launch.run_id / "launch"
    files = {folder / "startup.sh": startup, folder / "watch.sh": watch}
    machine = cost.slice_of(generation, chips)
    return Plan(files, [["bash", str(folder / "watch.sh")]], submit, machine=machine)


def accelerator(kind: str) -> tuple[int, str, str]:
    """Returns the number of chips, the runtime version and the generation of an accelerator type.

    Raises: ConfigError if the type is unknown.
    """
    for prefix, (units, runtime, generation) in _TYPES.items():
        match = re.fullmatch(re.escape(prefix) + r"(\d+)", kind)
        if match and int(match[1]) >= units:
            return int(match[1]) // units, runtime, generation
    known = ", ".join(f"{prefix}N" for prefix in _TYPES)
    require(False, f"--accelerator-type {kind}; allowed: {known}")
    raise AssertionError


def _for_systemd(words: list[str]) -> str:
    """Quotes a command for a unit file, where % and $ have meanings of their own."""
    quoted = []
    for word in words:
        word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
        quoted.append(f'"{word}"')
    return " ".join(quoted)
