"""A Slurm job: `srun` starts the ranks, jax finds them, and a preempted job requeues itself."""

import argparse
import shlex
from pathlib import Path

from sagan.config.arguments import positive
from sagan.launch import (
    RETRY_CODES,
    Launch,
    Plan,
    launch_folder,
    render,
    require_even_batches,
    require_plain_path,
    sagan_command,
    submit,
    train_arguments,
)

HELP = "a Slurm job that requeues itself when preempted"
CLOUD = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=positive, default=1, metavar="N")
    parser.add_argument(
        "--ntasks-per-node",
        type=positive,
        metavar="N",
        help="processes on a node, one per GPU (default: --gpus-per-node, else 1)",
    )
    parser.add_argument("--gpus-per-node", type=positive, metavar="N")
    parser.add_argument("--cpus-per-task", type=positive, metavar="N")
    for name in ("partition", "account", "qos", "constraint", "mem"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--time", metavar="HH:MM:SS", help="limit of each start; then it requeues")
    parser.add_argument("--setup", default="", metavar="COMMAND", help="run first: module load …")
    parser.add_argument("--evaluator", action="store_true", help="also submit a job to evaluate")


def plan(launch: Launch, args: argparse.Namespace) -> Plan:
    """Returns a plan with batch scripts in the work directory, which every node must see."""
    launch = launch._replace(workdir=str(Path(launch.workdir).absolute()))
    require_plain_path(launch.workdir, "--workdir")
    require_plain_path(launch.run_id, "--run-id")
    tasks = args.ntasks_per_node or args.gpus_per_node or 1
    require_even_batches(launch, args.nodes * tasks)  # jax on Slurm: one device per task
    folder = Path(launch.workdir) / "launch"
    values = {
        "RUN_ID": launch.run_id,
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
                "COMMAND": shlex.join([*sagan_command(), *train_arguments(launch)]),
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
                "PYTHON": shlex.quote(sagan_command()[0]),
                "WORKDIR": launch.workdir,
            },
        )
    commands = [["sbatch", str(path)] for path in files]
    return Plan(files, commands, submit, f"work directory {launch.workdir}; log in {folder}")


def _options(args: argparse.Namespace, more: dict[str, object]) -> str:
    """Returns the `#SBATCH` lines for the options that were given."""
    names = ("partition", "account", "qos", "constraint", "mem", "time")
    asked = {name: getattr(args, name) for name in names}
    asked |= {"cpus-per-task": args.cpus_per_task, **more}
    for name, value in asked.items():
        if isinstance(value, str):
            require_plain_path(value, f"--{name}")
    return "\n".join(f"#SBATCH --{k}={v}" for k, v in asked.items() if v is not None) or "#"
