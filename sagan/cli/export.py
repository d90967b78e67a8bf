"""`sagan export`: a checkpoint's generator as a program that needs jax alone, or plain weights."""

import argparse
from pathlib import Path
from typing import Any

from sagan.config.fields import require


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser("export", help="write a generator that others can use")
    verb.add_argument("workdir", type=Path)
    verb.add_argument("--step", default="latest", help="latest (default), best, or a number")
    verb.add_argument(
        "--format",
        choices=("stablehlo", "safetensors"),
        required=True,
        help="a program for CPU, CUDA and TPU that needs jax alone; or weights, for sagan.load",
    )
    verb.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from sagan.tasks.gan import export

    sampler, scores = open_step(args.workdir, args.step)
    for path in export.write(sampler, args.out, args.format, scores):
        print(path)
    return 0


def open_step(workdir: Path, step: str) -> tuple[Any, Any]:
    """Returns the sampler of a checkpoint of a GAN, and its scores (None: not measured).

    Raises: ConfigError if it is a run of another task, or `step` is none; CheckpointError if there
      is no such checkpoint.
    """
    from sagan import tasks
    from sagan.evaluation import checkpoints, results
    from sagan.runs import checkpoint

    config = checkpoint.read_config(workdir)
    require(config.task == "gan", f"{workdir} is a run of {config.task}; allowed: gan")
    number = checkpoints.pick_step(workdir, config, step)
    sampler: Any = tasks.build(config).load_sampler(workdir, number)
    scored = results.path_of(workdir, number)
    return sampler, results.read(scored) if scored.is_file() else None
