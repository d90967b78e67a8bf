"""A SkyPilot managed job: one YAML file, started again by SkyPilot wherever there is room."""

import argparse
import json
import re
import shlex
from pathlib import Path

from sagan.config.fields import require
from sagan.launch import (
    Job,
    Plan,
    render,
    require_even_batches,
    require_plain_path,
    submit,
    travelling_arguments,
)


def plan(job: Job, args: argparse.Namespace) -> Plan:
    """One task file for the trainer; with an evaluator, a second of one node and one device."""
    match = re.fullmatch(r"([A-Za-z][\w.-]*?)(?::(\d+))?", args.accelerators)
    require(match is not None, f"--accelerators {args.accelerators!r}; allowed: NAME:COUNT")
    assert match
    require(
        re.fullmatch(r"(gs|s3|r2|cos)://[\w./-]+|https://[\w./-]+", args.bucket) is not None,
        f"--bucket {args.bucket!r}; allowed: gs://NAME, s3://NAME, ...",
    )
    require_plain_path(args.image, "--image")
    require_plain_path(job.workdir, "--workdir")
    if not match[1].startswith("tpu-"):
        require_even_batches(job, args.nodes * int(match[2] or 1))
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
            "RUN_ID": job.run_id,
            "NODES": args.nodes,
            "ACCELERATORS": args.accelerators,
            "COMMAND": shlex.join(travelling_arguments(job)),
        },
    )
    folder = Path("runs") / job.run_id / "launch"
    files = {folder / "trainer.sky.yaml": trainer}
    if args.evaluator:
        files[folder / "evaluator.sky.yaml"] = render(
            "sky/task.yaml",
            {
                **common,
                "RUN_ID": f"{job.run_id}-eval",
                "NODES": 1,
                "ACCELERATORS": f"{match[1]}:1",
                "COMMAND": shlex.join(["evaluator", job.workdir]),
            },
        )
    commands = [["sky", "jobs", "launch", "--yes", "--detach-run", str(path)] for path in files]
    return Plan(files, commands, submit)
