"""A JobSet on GKE, queued by Kueue: TPU slices, or nodes with GPUs."""

import argparse
import json
import math
import re
from pathlib import Path

from sagan.config import ConfigError
from sagan.config.arguments import positive
from sagan.config.fields import require
from sagan.launch import (
    COORDINATOR_PORT,
    RETRY_CODES,
    Launch,
    Plan,
    add_image,
    render,
    require_dns_label,
    require_even_batches,
    require_plain_path,
    submit,
    travelling_arguments,
)

# Source: cloud.google.com/kubernetes-engine/docs/concepts/plan-tpus (labels, dimensions).
_DIMENSIONS = {
    "tpu-v4-podslice": 3,
    "tpu-v5p-slice": 3,
    "tpu-v5-lite-podslice": 2,
    "tpu-v6e-slice": 2,
}
_GENERATIONS = {
    "tpu-v4-podslice": "v4",
    "tpu-v5p-slice": "v5p",
    "tpu-v5-lite-podslice": "v5e",
    "tpu-v6e-slice": "v6e",
}
_SMALLEST = "2x2x1"  # the default topology
_CHIPS_PER_HOST = 4  # in every slice of several hosts

HELP = "a JobSet on Google Kubernetes Engine: TPU slices or GPU nodes"
CLOUD = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_image(parser)
    parser.add_argument(
        "--accelerator",
        default="tpu-v4-podslice",
        help="node label: tpu-v4-podslice, nvidia-h100-80gb, ...",
    )
    parser.add_argument("--topology", metavar="AxBxC", help="TPU: shape of a slice, e.g. 2x2x4")
    parser.add_argument("--slices", type=positive, default=1, metavar="N", help="TPU slices")
    parser.add_argument("--nodes", type=positive, default=1, metavar="N", help="GPU nodes")
    parser.add_argument("--gpus-per-node", type=positive, default=8, metavar="N", help="default: 8")
    parser.add_argument("--queue", default="sagan", help="Kueue LocalQueue (default sagan)")
    parser.add_argument("--namespace", default="default")
    parser.add_argument(
        "--claim", default="sagan-runs", help="ReadWriteMany volume claim, mounted at /runs"
    )
    parser.add_argument("--spot", action="store_true")
    parser.add_argument(
        "--privileged", action="store_true", help="let pods open TPU devices (GKE before 1.28)"
    )
    parser.add_argument("--replace", action="store_true", help="delete a job of this name first")
    parser.add_argument(
        "--evaluator",
        metavar="ACCELERATOR[:N]",
        help="also start an evaluator on one host, e.g. nvidia-l4:1 or tpu-v5-lite-podslice:1x1",
    )


def plan(launch: Launch, args: argparse.Namespace) -> Plan:
    """Returns a plan with one manifest for the trainer and, if wanted, one for an evaluator."""
    for name in ("queue", "namespace", "claim"):
        require_dns_label(getattr(args, name), f"--{name}")
    require_plain_path(args.image, "--image")
    require_plain_path(launch.workdir, "--workdir")
    common = {
        "RUN_ID": launch.run_id,
        "NAMESPACE": args.namespace,
        "QUEUE": args.queue,
        "CLAIM": args.claim,
        "IMAGE": json.dumps(args.image),
        "GRACE": args.grace_seconds,
        "MAX_RESTARTS": 50 if args.max_restarts is None else args.max_restarts,
    }
    make = _tpu if args.accelerator.startswith("tpu-") else _gpu
    folder = Path("runs") / launch.run_id / "launch"
    files = {folder / "trainer.yaml": make(launch, args, common)}
    if args.evaluator:
        files[folder / "evaluator.yaml"] = _evaluator(launch, args, common)
    commands = []
    for path in files:
        if args.replace:
            commands.append(["kubectl", "delete", "--ignore-not-found", "-f", str(path)])
        # Unlike `apply`, `create` refuses a job that exists, so a run is not launched twice.
        commands.append(["kubectl", "create", "-f", str(path)])
    notes = f"follow: kubectl logs -n {args.namespace} -f job/{launch.run_id}-trainer-0"
    return Plan(files, commands, submit, notes, _machine(args))


def _machine(args: argparse.Namespace) -> str | None:
    """Returns what the trainer runs on; None for joined slices and for GPUs other than H100."""
    if args.accelerator in _GENERATIONS and args.slices == 1:
        return f"{_GENERATIONS[args.accelerator]}:{args.topology or _SMALLEST}"
    if "h100" in args.accelerator:
        return f"h100:{args.nodes * args.gpus_per_node}"
    return None


def _tpu(launch: Launch, args: argparse.Namespace, common: dict) -> str:
    topology = args.topology or _SMALLEST
    chips = slice_chips(args.accelerator, topology)
    hosts = hosts_per_slice(args.accelerator, topology)
    require(
        args.slices == 1 or hosts > 1,
        f"--slices {args.slices} with --topology {topology}: only slices of several hosts "
        "can be joined; take one larger slice",
    )
    require_even_batches(launch, chips * args.slices)
    return render(
        "gke/tpu.yaml",
        {
            **common,
            **_trainer(launch),
            "ACCELERATOR": args.accelerator,
            "TOPOLOGY": topology,
            "SLICES": args.slices,
            "HOSTS": hosts,
            "CHIPS_PER_HOST": min(chips, _CHIPS_PER_HOST),
            "PRIVILEGED": json.dumps(args.privileged),
            "NODE_SELECTOR": _selector(args.accelerator, topology, args.spot),
        },
    )


def _gpu(launch: Launch, args: argparse.Namespace, common: dict) -> str:
    for name, default in (("topology", None), ("slices", 1), ("privileged", False)):
        require(
            getattr(args, name) == default,
            f"--{name} is for TPUs, not for --accelerator {args.accelerator}",
        )
    require_even_batches(launch, args.nodes * args.gpus_per_node)
    return render(
        "gke/gpu.yaml",
        {
            **common,
            **_trainer(launch),
            "ACCELERATOR": args.accelerator,
            "HOSTS": args.nodes,
            "GPUS": args.gpus_per_node,
            "NODE_SELECTOR": _selector(args.accelerator, None, args.spot),
        },
    )


def _trainer(launch: Launch) -> dict[str, object]:
    # Kubernetes replaces $(NAME) by a variable's value, unless it is written $$(NAME).
    words = [word.replace("$(", "$$(") for word in travelling_arguments(launch)]
    return {
        "ARGUMENTS": json.dumps(words),
        "PORT": COORDINATOR_PORT,
        "RETRY_CODES": ", ".join(map(str, RETRY_CODES)),
    }


def _evaluator(launch: Launch, args: argparse.Namespace, common: dict) -> str:
    accelerator, _, size = args.evaluator.partition(":")
    if accelerator.startswith("tpu-"):
        topology = size or "1x1"
        require(
            hosts_per_slice(accelerator, topology) == 1,
            f"--evaluator {args.evaluator}: an evaluator has one host; allowed: up to 4 chips",
        )
        resource, count = "google.com/tpu", slice_chips(accelerator, topology)
        selector = _selector(accelerator, topology, args.spot)
    else:
        require(not size or size.isdigit(), f"--evaluator {args.evaluator}; allowed: NAME:COUNT")
        resource, count = "nvidia.com/gpu", int(size or 1)
        selector = _selector(accelerator, None, args.spot)
    return render(
        "gke/evaluator.yaml",
        {
            **common,
            "RESOURCE": resource,
            "COUNT": count,
            "WORKDIR": json.dumps(launch.workdir),
            "PRIVILEGED": json.dumps(args.privileged and resource == "google.com/tpu"),
            "NODE_SELECTOR": selector,
        },
    )


def _selector(accelerator: str, topology: str | None, spot: bool) -> str:
    if topology:
        labels = {
            "cloud.google.com/gke-tpu-accelerator": accelerator,
            "cloud.google.com/gke-tpu-topology": topology,
        }
    else:
        labels = {"cloud.google.com/gke-accelerator": accelerator}
    if spot:
        labels["cloud.google.com/gke-spot"] = "true"
    return json.dumps(labels)


def slice_chips(accelerator: str, topology: str) -> int:
    """Returns the number of chips of a slice.

    Raises: ConfigError for an unknown accelerator, or a shape in which it is not offered.
    """
    if accelerator not in _DIMENSIONS:
        raise ConfigError(f"--accelerator {accelerator!r}; TPUs known: {', '.join(_DIMENSIONS)}")
    dimensions = _DIMENSIONS[accelerator]
    sizes = [int(part) for part in re.findall(r"\d+", topology)]
    form = "x".join(["\\d+"] * dimensions)
    small = {2: [[1, 1], [2, 2], [2, 4]], 3: [[2, 2, 1], [2, 2, 2], [2, 2, 4], [2, 4, 4]]}
    large = all(s % 4 == 0 and s > 0 for s in sizes) and sizes == sorted(sizes)
    require(
        re.fullmatch(form, topology) is not None and (sizes in small[dimensions] or large),
        f"--topology {topology} of {accelerator}; allowed: "
        + ", ".join("x".join(map(str, s)) for s in small[dimensions])
        + ", or ascending multiples of 4",
    )
    return math.prod(sizes)


def hosts_per_slice(accelerator: str, topology: str) -> int:
    """Returns the number of hosts of a slice, each of which runs one process on up to 4 chips."""
    return max(1, slice_chips(accelerator, topology) // _CHIPS_PER_HOST)
