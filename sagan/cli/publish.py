"""`sagan publish`: a checkpoint's generator as a model of the Hugging Face Hub."""

import argparse
from pathlib import Path

from sagan.cli import export


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser("publish", help="upload a generator to the Hugging Face Hub")
    verb.add_argument("workdir", type=Path)
    verb.add_argument("url", metavar="hf://USER/NAME", help="the model, made if it is not there")
    verb.add_argument("--step", default="latest", help="latest (default), best, or a number")
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from sagan.tasks.gan import hub

    hub.repository_to_write(args.url)  # before the checkpoint is opened
    sampler, scores = export.open_step(args.workdir, args.step)
    print(hub.publish(sampler, args.url, scores))
    return 0
