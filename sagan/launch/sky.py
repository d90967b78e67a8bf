"""A SkyPilot managed job: one YAML file, started again by SkyPilot wherever there is room."""

import argparse
import json
import re
import shlex
from pathlib import Path

from sagan.config.arguments import positive
from sagan.config.fields import require
from sagan.launch import (
    Launch,
    Plan,
    add_image,
    render,
    require_even_batches,
    require_plain_path,
    submit,
    travelling_arguments,
)

HELP = "a SkyPilot managed job on any cloud"
CLOUD = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument("--accelerators", default="H100:8", metavar="NAME:N", help="of each node")
    parser.add_argument("--nodes", type=positive, default=1, metavar="N")
    parser.add_argument("--bucket", required=True, metavar="gs://NAME", help="to mount at /runs")
    parser.add_argument("--spot", action="store_true")
    parser.add_argument("--evaluator", action="store_true", help="also start a one-GPU job for it")


def plan(launch: Launch, args: argparse.Namespace) -> Plan:
    """Returns a plan with one task file for the trainer and, if wanted, one for an evaluator."""
    match = re.fullmatch(r"([A-Za-z][\w.-]*?)(?::(\d+))?", args.accelerators)
    require(match is not None, f"--accelerators {args.accelerators!r}; allowed: NAME:COUNT")
    assert match
    require(
        re.fullmatch(r"(gs|s3|r2|cos)://[\w./-]+|https://[\w./-]+", args.bucket) is not None,
        f"--bucket {args.bucket!r}; allowed: gs://NAME, s3://NAME, ...",
    )
    require_plain_path(args.image, "--image")
    require_plain_path(launch.workdir, "--workdir")
    if not match[1].startswith("tpu-"):
        require_even_batches(launch, args.nodes * int(match[2] or 1))
    common = {
        "SPOT": json.dumps(args.spot),
        "IMAGE": args.image,
        "BUCKET": args.bucket,
        "MAX_RESTARTS": 3 if args.max_restarts is None else args.max_restarts,
    }
    trainer = render(
        "sky/task.yaml",
        {
            **common,
            "RUN_ID": launch.run_id,
            "NODES": args.nodes,
            "ACCELERATORS": args.accelerators,
            "COMMAND": shlex.join(travelling_arguments(launch)),
        },
    )
    folder = Path("runs") / launch.run_id / "launch"
    files = {folder / "trainer.sky.yaml": trainer}
    if args.evaluator:
        files[folder / "evaluator.sky.yaml"] = render(
            "sky/task.yaml",
            {
                **common,
                "RUN_ID": f"{launch.run_id}-eval",
                "NODES": 1,
                "ACCELERATORS": f"{match[1]}:1",
                "COMMAND": shlex.join(["evaluator", launch.workdir]),
            },
        )
    commands = [["sky", "jobs", "launch", "--yes", "--detach-run", str(path)] for path in files]
    on_h100 = match[1].lower() == "h100"
    machine = f"h100:{args.nodes * int(match[2] or 1)}" if on_h100 else None
    return Plan(files, commands, submit, machine=machine)
