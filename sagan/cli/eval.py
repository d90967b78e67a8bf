"""`sagan eval`: scores checkpoints of a run, or any images."""

import argparse
from pathlib import Path

from sagan.config import ConfigError
from sagan.config.arguments import positive
from sagan.config.exit_codes import DONE
from sagan.config.fields import require

_ONLY_OF_RUNS = {"step": "latest", "watch": False, "watch_timeout": 3600.0, "seeds": (0,),
                 "truncation": None, "ema_sigma": None}  # fmt: skip


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser(
        "eval",
        help="score checkpoints, or any images",
        description="Score a run's checkpoints, or images against a reference. REF is a folder, a "
        "zip, an .npz of images (arr_0), PRESET:SPLIT, a file of `sagan reference --out`, or "
        "pytorch-fid's (for fid alone).",
    )
    verb.add_argument(
        "words",
        nargs="*",
        metavar="WORKDIR | section.field=value",
        help="a run, with data.dir=DIR if its data have moved; or, with --images, settings for the "
        "presets named",
    )
    verb.add_argument("--step", default="latest", help="latest (default), best, all, or a number")
    verb.add_argument("--images", metavar="DIR|ZIP|NPZ|PRESET:SPLIT", help="score these, not a run")
    verb.add_argument("--reference", metavar="REF", help="real images (of a run: its data)")
    add_score_arguments(verb)
    verb.add_argument("--num-images", type=positive, metavar="N", help="number of images to score")
    verb.add_argument(
        "--image-size",
        type=positive,
        metavar="PX",
        help="with --images: make each square (data.fit) and resize it",
    )
    verb.add_argument(
        "--seeds", type=_seeds, default=(0,), metavar="0,1,2", help="give mean and sd over these"
    )
    verb.add_argument("--truncation", type=float, metavar="PSI", help="scale run's latents by PSI")
    verb.add_argument(
        "--ema-sigma",
        type=float,
        metavar="S",
        help="average the weights over this relative width (needs optim.ema_widths)",
    )
    verb.add_argument("--watch", action="store_true", help="follow a running training to its end")
    verb.add_argument(
        "--watch-timeout",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="stop watching when no checkpoint has come for so long (default 3600)",
    )
    verb.add_argument("--json", action="store_true", help="print JSON on stdout, nothing else")
    verb.set_defaults(run=_run)


def add_score_arguments(verb: argparse.ArgumentParser) -> None:
    """Adds the arguments that `eval` and `reference` share."""
    verb.add_argument(
        "--metrics", type=_names, metavar="fid,is,...", help="default: the config's eval.metrics"
    )
    verb.add_argument(
        "--num-real", type=positive, metavar="N", help="number of real images (default: all)"
    )
    verb.add_argument("--features", metavar="NAME", help="feature network (default: eval.features)")
    verb.add_argument("--weights", type=Path, metavar="FILE", help="the network's weights")
    verb.add_argument(
        "--resizer", default="tf", help="tf (default), torch, clean: part of the score's name"
    )


def _run(args: argparse.Namespace) -> int:
    overrides = [word for word in args.words if "=" in word]
    places = [word for word in args.words if "=" not in word]
    if args.images is not None:
        require(not places, f"{' '.join(places)}: give a WORKDIR or --images, not both")
        return _score_images(args, overrides)
    require(
        len(places) == 1, "sagan eval needs one WORKDIR, or --images and --reference: see --help"
    )
    moved = [word for word in overrides if word.startswith("data.dir=")]
    require(
        overrides == moved and len(moved) <= 1,
        f"{' '.join(overrides)}: a run has its own settings; only data.dir=DIR, where its "
        "data are now, can be given",
    )
    require(args.image_size is None, "--image-size goes with --images")
    return _score_run(args, Path(places[0]), moved)


def _score_images(args: argparse.Namespace, overrides: list[str]) -> int:
    if args.reference is None:
        raise ConfigError("--images needs --reference DIR, PRESET:SPLIT or FILE.npz")
    for name, default in _ONLY_OF_RUNS.items():
        require(
            getattr(args, name) == default,
            f"--{name.replace('_', '-')} is for checkpoints, not for --images",
        )
    from sagan.evaluation import ScoreSpec, image_files, reference
    from sagan.parallel import joining

    joining.initialize()
    images = reference.open_images(args.images, overrides=overrides, image_size=args.image_size)
    network = args.features or ScoreSpec.features
    spec = ScoreSpec(
        metrics=args.metrics or image_files.usual_metrics(network),
        features=network,
        num_real=args.num_real,
        reference=args.reference,
        weights=args.weights,
        resizer=args.resizer,
    )
    image_files.score_images(
        images.part(args.num_images),
        spec,
        overrides=overrides,
        image_size=args.image_size,
        as_json=args.json,
    )
    return DONE


def _score_run(args: argparse.Namespace, workdir: Path, moved: list[str]) -> int:
    from sagan.evaluation import ScoreSpec, checkpoints, require_truncation

    require_truncation(args.truncation)
    from sagan import tasks
    from sagan.config import presets
    from sagan.parallel import joining
    from sagan.runs.checkpoint import read_config

    joining.initialize()
    if args.watch:
        checkpoints.wait_for_config(workdir, args.watch_timeout)
    config = presets.override(read_config(workdir), moved)
    task = tasks.build(config)
    if moved:
        checkpoints.require_own_classes(workdir, task, config)
    spec = ScoreSpec.of(
        config.eval,
        metrics=args.metrics,
        features=args.features,
        num_images=args.num_images,
        num_real=args.num_real,
        reference=args.reference,
        weights=args.weights,
        resizer=args.resizer,
        seeds=args.seeds,
        truncation=args.truncation,
        ema_sigma=args.ema_sigma,
    )
    checkpoints.score_run(
        workdir,
        task,
        spec,
        step=args.step,
        watch=args.watch,
        watch_timeout_seconds=args.watch_timeout,
        as_json=args.json,
    )
    return DONE


def _names(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _seeds(text: str) -> tuple[int, ...]:
    numbers = tuple(int(word) for word in _names(text))
    if not numbers or min(numbers) < 0 or max(numbers) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: numbers below 2**32, such as 0,1,2")
    return numbers
