"""`sagan sample`: draws images from a checkpoint, as single files or one picture."""

import argparse
from pathlib import Path
from typing import Any

from sagan.config import ConfigError


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser("sample", help="draw images from a checkpoint")
    verb.add_argument("workdir", type=Path)
    verb.add_argument("--step", default="latest", help="latest (default), best, or a number")
    verb.add_argument(
        "--classes", metavar="3,7|cat,dog", help="by number or name (default: all in turn)"
    )
    verb.add_argument(
        "--num", type=int, help="of each class given, or in all (64; with a picture: 8)"
    )
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("--truncation", type=float, metavar="PSI", help="scale latents by this")
    kinds = verb.add_mutually_exclusive_group()
    kinds.add_argument("--grid", action="store_true", help="one sheet instead of single files")
    kinds.add_argument(
        "--interpolate", nargs=2, type=int, metavar=("A", "B"), help="between two images' latents"
    )
    kinds.add_argument("--attention", action="store_true", help="where query points look")
    verb.add_argument(
        "--points",
        metavar="R,C R,C",
        nargs="+",
        help="query points of --attention as fractions of the image (default: three)",
    )
    verb.add_argument("--out", type=Path, required=True, metavar="PATH")
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    points = () if args.attention else None
    if args.points:
        if not args.attention:
            raise ConfigError("--points goes with --attention")
        points = tuple(_point(text) for text in args.points)
    from sagan import tasks
    from sagan.evaluation import checkpoints
    from sagan.runs import checkpoint
    from sagan.tasks.gan import classes, pictures

    picture = args.grid or args.attention
    request = pictures.Request(
        out=args.out,
        classes=None if args.classes is None else classes.split(args.classes),
        num=args.num if args.num is not None else 8 if picture else 64,
        seed=args.seed,
        truncation=args.truncation,
        grid=args.grid,
        interpolate=tuple(args.interpolate) if args.interpolate else None,
        attention=points,
    )
    config = checkpoint.read_config(args.workdir)
    tasks.require_verb(config, "sample")
    step = checkpoints.pick_step(args.workdir, config, args.step)
    sampler: Any = tasks.build(config).load_sampler(args.workdir, step)
    files = pictures.write(sampler, request)
    print(files[0] if len(files) == 1 else f"{len(files)} images in {args.out}")
    return 0


def _point(text: str) -> tuple[float, float]:
    try:
        row, column = (float(part) for part in text.split(","))
    except ValueError:
        row = column = -1.0
    if not (0 <= row < 1 and 0 <= column < 1):
        raise ConfigError(f"--points {text}; wanted ROW,COLUMN, each in [0, 1)")
    return row, column
