"""The arguments of `sagan launch`; what they do is in `launch.py`, imported only when it runs."""

import argparse


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb `launch` with its targets; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser(
        "launch",
        help="start a job on this machine, a cluster or a cloud",
        description="Start a job. The same run id is the same work directory: launching again "
        "resumes. docs/launching.md leads from nothing to a job on each target.",
    )
    targets = verb.add_subparsers(dest="target", metavar="TARGET", required=True)
    for name, (add, text) in _TARGETS.items():
        parser = targets.add_parser(name, help=text, description=text)
        _common(parser)
        add(parser)
        parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from sagan.launch import planning as launch

    return launch.run(args)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CONFIG section.field=value",
        help="preset or path to a .py (default digits), then overrides",
    )
    parser.add_argument("--run-id", help="names the job and its directory (default: config's name)")
    parser.add_argument(
        "--workdir", metavar="DIR", help="default: runs/RUN_ID, in clouds /runs/..."
    )
    parser.add_argument("--dry-run", action="store_true", help="print every file and command, only")
    parser.add_argument(
        "--max-restarts",
        type=_count,
        metavar="N",
        help="bound on restarts after 42 and 127..255 (default: local 0, elsewhere 50)",
    )
    parser.add_argument(
        "--grace-seconds",
        type=_positive,
        default=120,
        metavar="S",
        help="from SIGTERM to the end: at least one step and one save (default 120)",
    )


def _local(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--processes", type=_positive, default=1, metavar="N")
    parser.add_argument("--port", type=_positive, help="of the coordinator (default: a free one)")
    parser.add_argument(
        "--gpus-per-process",
        type=_positive,
        metavar="N",
        help="give each process its own N GPUs (default: every process sees all)",
    )
    parser.add_argument("--evaluator", action="store_true", help="run `sagan eval --watch` beside")


def _slurm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=_positive, default=1, metavar="N")
    parser.add_argument(
        "--ntasks-per-node",
        type=_positive,
        metavar="N",
        help="one per GPU (default: --gpus-per-node, else 1)",
    )
    parser.add_argument("--gpus-per-node", type=_positive, metavar="N")
    parser.add_argument("--cpus-per-task", type=_positive, metavar="N")
    for name in ("partition", "account", "qos", "constraint", "mem"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--time", metavar="HH:MM:SS", help="limit of one stretch; it requeues")
    parser.add_argument("--setup", default="", metavar="COMMAND", help="e.g. 'module load cuda'")
    parser.add_argument("--evaluator", action="store_true", help="submit a second, one-task job")


def _gke(parser: argparse.ArgumentParser) -> None:
    _image(parser)
    parser.add_argument(
        "--accelerator",
        default="tpu-v4-podslice",
        help="node label: tpu-v4-podslice, nvidia-h100-80gb, ...",
    )
    parser.add_argument("--topology", metavar="AxBxC", help="TPU: chips of a slice, e.g. 2x2x4")
    parser.add_argument("--slices", type=_positive, default=1, metavar="N", help="TPU")
    parser.add_argument("--nodes", type=_positive, default=1, metavar="N", help="GPU")
    parser.add_argument("--gpus-per-node", type=_positive, default=8, metavar="N", help="GPU")
    parser.add_argument("--queue", default="sagan", help="Kueue LocalQueue (default sagan)")
    parser.add_argument("--namespace", default="default")
    parser.add_argument(
        "--claim", default="sagan-runs", help="ReadWriteMany volume claim, mounted at /runs"
    )
    parser.add_argument("--spot", action="store_true")
    parser.add_argument(
        "--privileged", action="store_true", help="TPU on GKE before 1.28 only: open the devices"
    )
    parser.add_argument("--replace", action="store_true", help="delete the job of that name first")
    parser.add_argument(
        "--evaluator",
        metavar="ACCELERATOR[:N]",
        help="also a one-host evaluator, e.g. nvidia-l4:1 or tpu-v5-lite-podslice:1x1",
    )


def _tpu_vm(parser: argparse.ArgumentParser) -> None:
    _image(parser)
    parser.add_argument("--zone", required=True)
    parser.add_argument("--project", help="default: gcloud's")
    parser.add_argument("--accelerator-type", default="v4-32", metavar="TYPE")
    parser.add_argument("--runtime-version", help="default: by accelerator type")
    parser.add_argument("--nfs", required=True, metavar="HOST:/SHARE", help="mounted at /runs")
    parser.add_argument("--spot", action="store_true")
    parser.add_argument("--poll-seconds", type=_positive, default=60, metavar="S")
    parser.add_argument("--evaluator", action="store_true", help="on worker 0, on its CPU")


def _sky(parser: argparse.ArgumentParser) -> None:
    _image(parser)
    parser.add_argument("--accelerators", default="H100:8", metavar="NAME:N", help="per node")
    parser.add_argument("--nodes", type=_positive, default=1, metavar="N")
    parser.add_argument("--bucket", required=True, metavar="gs://NAME", help="mounted at /runs")
    parser.add_argument("--spot", action="store_true")
    parser.add_argument("--evaluator", action="store_true", help="a second, one-GPU managed job")


def _image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", required=True, help="built from launch/Dockerfile")


def _positive(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}; allowed: >= 1")
    return value


def _count(text: str) -> int:
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text}; allowed: >= 0")
    return value


_TARGETS = {
    "local": (_local, "processes on this machine"),
    "slurm": (_slurm, "a Slurm job that requeues itself when preempted"),
    "gke": (_gke, "a JobSet on Google Kubernetes Engine: TPU slices or GPU nodes"),
    "tpu-vm": (_tpu_vm, "TPU VMs through queued resources, created again when preempted"),
    "sky": (_sky, "a SkyPilot managed job on any cloud"),
}
