"""A Slurm job: `srun` starts the ranks, jax finds them, and a preempted job requeues itself."""

import argparse
import shlex
from pathlib import Path

from sagan.launch import (
    RETRY_CODES,
    Job,
    Plan,
    launch_folder,
    python,
    render,
    require_even_batches,
    require_plain_path,
    submit,
    train_arguments,
)


def plan(job: Job, args: argparse.Namespace) -> Plan:
    """One batch script in the work directory, which every node must see; a second to evaluate."""
    job = job._replace(workdir=str(Path(job.workdir).absolute()))
    require_plain_path(job.workdir, "--workdir")
    require_plain_path(job.run_id, "--run-id")
    tasks = args.ntasks_per_node or args.gpus_per_node or 1
    require_even_batches(job, args.nodes * tasks)  # jax on Slurm: one device per task
    folder = Path(job.workdir) / "launch"
    values = {
        "RUN_ID": job.run_id,
        "FOLDER": folder,
        "GRACE": args.grace_seconds,
        "SETUP": args.setup,
        "MAX_RESTARTS": 50 if args.max_restarts is None else args.max_restarts,
        "RETRY_FROM": RETRY_CODES[1],
    }
    files = {
        folder / "train.sbatch": render(
            "slurm/train.sbatch",
            {
                **values,
                "NODES": args.nodes,
                "TASKS": tasks,
                "OPTIONS": _options(args, {"gpus-per-node": args.gpus_per_node}),
                "COMMAND": shlex.join([*python(), *train_arguments(job)]),
            },
        )
    }
    if args.evaluator:
        gpus = 1 if args.gpus_per_node else None
        del values["MAX_RESTARTS"], values["RETRY_FROM"], values["GRACE"]
        files[folder / "eval.sbatch"] = render(
            "slurm/eval.sbatch",
            {
                **values,
                "OPTIONS": _options(args, {"gpus-per-node": gpus}),
                "COMMAND": shlex.join(["sh", str(launch_folder() / "entry.sh"), "evaluator"]),
                "PYTHON": shlex.quote(python()[0]),
                "WORKDIR": job.workdir,
            },
        )
    commands = [["sbatch", str(path)] for path in files]
    return Plan(files, commands, submit, f"work directory {job.workdir}; log in {folder}")


def _options(args: argparse.Namespace, more: dict[str, object]) -> str:
    """The `#SBATCH` lines of what was asked for."""
    names = ("partition", "account", "qos", "constraint", "mem", "time")
    asked = {name: getattr(args, name) for name in names}
    asked |= {"cpus-per-task": args.cpus_per_task, **more}
    for name, value in asked.items():
        if isinstance(value, str):
            require_plain_path(value, f"--{name}")
    return "\n".join(f"#SBATCH --{k}={v}" for k, v in asked.items() if v is not None) or "#"
