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
        "--classes",
        metavar="3,7|cat,dog",
        help="which classes, by number or name (default: all classes in turn)",
    )
    verb.add_argument(
        "--list-classes", action="store_true", help="print the classes' numbers and names, and end"
    )
    verb.add_argument(
        "--num",
        type=int,
        help="images of each class given, or in all (default: 64; 8 in a picture)",
    )
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument(
        "--truncation", type=float, metavar="PSI", help="multiply latents by PSI, in (0, 1]"
    )
    verb.add_argument(
        "--temperature",
        type=float,
        metavar="T",
        help="of transformers: below 1, more probable images",
    )
    verb.add_argument(
        "--ema-sigma",
        type=float,
        metavar="S",
        help="draw with weights averaged over this relative width (needs optim.ema_widths)",
    )
    kinds = verb.add_mutually_exclusive_group()
    kinds.add_argument("--grid", action="store_true", help="draw one sheet, not single files")
    kinds.add_argument(
        "--npz", action="store_true", help="write one file with the arrays arr_0 and arr_1 (labels)"
    )
    kinds.add_argument(
        "--interpolate",
        nargs=2,
        metavar=("A", "B"),
        help="draw the images between two, each given as INDEX or INDEX:CLASS; as an animation "
        "if --out ends in .gif or .webp",
    )
    kinds.add_argument(
        "--attention", action="store_true", help="draw where query points of the images look"
    )
    kinds.add_argument(
        "--complete",
        metavar="IMAGES",
        help="of transformers: continue the upper halves of images (a folder, a zip, or "
        "PRESET:SPLIT)",
    )
    kinds.add_argument(
        "--enlarge",
        metavar="IMAGES",
        help="of transformers that enlarge: draw images large, from small copies of these",
    )
    verb.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="images of --interpolate, with both ends (default: 9)",
    )
    verb.add_argument(
        "--points",
        metavar="R,C R,C",
        nargs="+",
        help="query points of --attention as fractions of the image (default: three)",
    )
    verb.add_argument(
        "--folders", action="store_true", help="write single files into one folder for each class"
    )
    verb.add_argument(
        "--overwrite", action="store_true", help="remove what an earlier call wrote to --out"
    )
    verb.add_argument("--out", type=Path, metavar="PATH", help="a folder, or a file's name")
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    if args.points and not args.attention:
        raise ConfigError("--points goes with --attention")
    if args.steps is not None and args.interpolate is None:
        raise ConfigError("--steps goes with --interpolate")
    if args.out is None and not args.list_classes:
        raise ConfigError("--out is needed: a folder, or with --grid the name of a .png")
    points = tuple(_point(text) for text in args.points or ())
    from sagan import tasks
    from sagan.evaluation import checkpoints
    from sagan.runs import checkpoint
    from sagan.tasks import classes, pictures

    request = None
    picture = args.grid or args.attention or (args.complete or args.enlarge) is not None
    if args.out is not None:
        request = pictures.Request(
            out=args.out,
            classes=None if args.classes is None else classes.split(args.classes),
            num=args.num if args.num is not None else 8 if picture else 64,
            seed=args.seed,
            truncation=args.truncation,
            temperature=args.temperature,
            complete=args.complete,
            enlarge=args.enlarge,
            grid=args.grid,
            npz=args.npz,
            interpolate=_ends(args.interpolate),
            steps=args.steps if args.steps is not None else 9,
            attention=points if args.attention else None,
            folders=args.folders,
            overwrite=args.overwrite,
        )
    config = checkpoint.read_config(args.workdir)
    tasks.require_verb(config, "sample")
    step = checkpoints.pick_step(args.workdir, config, args.step)
    sampler: Any = tasks.build(config).load_sampler(args.workdir, step, ema_sigma=args.ema_sigma)
    if args.list_classes or request is None:
        for label, name in enumerate(sampler.class_names):
            print(f"{label:>4}  {name}")
        if not sampler.class_names:
            print("this model is unconditional: it has no classes")
        return 0
    files = pictures.write(sampler, request)
    print(files[0] if len(files) == 1 else f"{len(files)} images in {args.out}")
    return 0


def _ends(texts: list[str] | None) -> Any:
    if texts is None:
        return None
    from sagan.tasks.pictures import End

    found = []
    for text in texts:
        index, colon, name = text.partition(":")
        try:
            found.append(End(int(index), name if colon else None))
        except ValueError:
            raise ConfigError(f"--interpolate {text}; wanted INDEX or INDEX:CLASS") from None
    return tuple(found)


def _point(text: str) -> tuple[float, float]:
    try:
        row, column = (float(part) for part in text.split(","))
    except ValueError:
        row = column = -1.0
    if not (0 <= row < 1 and 0 <= column < 1):
        raise ConfigError(f"--points {text}; wanted ROW,COLUMN, each in [0, 1)")
    return row, column
