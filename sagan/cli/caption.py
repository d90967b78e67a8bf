"""`sagan caption`: says what images show, with a checkpoint of a captioning run."""

import argparse
import json
from pathlib import Path
from typing import Any

from sagan.config import ConfigError
from sagan.config.arguments import positive


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser("caption", help="write captions of images, with a captioning run")
    verb.add_argument("workdir", type=Path)
    verb.add_argument("--step", default="latest", help="latest (default), best, or a number")
    verb.add_argument(
        "--images", type=Path, nargs="+", required=True, metavar="PATH", help="files or folders"
    )
    verb.add_argument(
        "--beam",
        type=positive,
        metavar="N",
        help="captions kept from word to word (default: the run's model.beam)",
    )
    verb.add_argument(
        "--attention", action="store_true", help="also draw where each word was looked for"
    )
    verb.add_argument("--out", type=Path, required=True, metavar="DIR")
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from sagan import tasks
    from sagan.evaluation import checkpoints
    from sagan.runs import checkpoint
    from sagan.tasks.captioning import files
    from sagan.tasks.sample_folder import require_writable

    config = checkpoint.read_config(args.workdir)
    tasks.require_verb(config, "caption")
    if args.out.exists() and not args.out.is_dir():
        raise ConfigError(f"--out {args.out} is a file; allowed: a folder")
    paths = files.find(args.images, args.out)
    require_writable(args.out)
    step = checkpoints.pick_step(args.workdir, config, args.step)
    sampler: Any = tasks.build(config).load_sampler(args.workdir, step)
    beam = args.beam if args.beam is not None else sampler.config.model.beam
    rows = files.write(sampler, paths, args.out, beam=beam, attention=args.attention)
    for row in rows:
        print(json.dumps(row["caption"], ensure_ascii=False), row["image"])
    return 0
