"""The arguments of `sagan eval`, `sagan reference` and `sagan compare`; their work is elsewhere."""

import argparse
import sys
from pathlib import Path

from sagan.config import ConfigError
from sagan.config.fields import require

_CHECKPOINTS_ONLY = {"step": "latest", "watch": False, "watch_timeout": 3600.0, "seeds": (0,),
                     "truncation": None}  # fmt: skip


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verbs; `args.run(args)` returns the exit status."""
    _add_eval(subparsers)
    _add_reference(subparsers)
    _add_compare(subparsers)


def _add_eval(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = subparsers.add_parser(
        "eval",
        help="score checkpoints, or any images",
        description="Score a run's checkpoints, or images against a reference. REF is a folder, "
        "PRESET:SPLIT, or a file of `sagan reference --out`.",
    )
    verb.add_argument(
        "words",
        nargs="*",
        metavar="WORKDIR | section.field=value",
        help="a run; or, with --images, settings for the presets named, such as data.dir=DIR",
    )
    verb.add_argument("--step", default="latest", help="latest (default), best, all, or a number")
    verb.add_argument("--images", metavar="DIR|PRESET:SPLIT", help="score these instead of a run")
    verb.add_argument("--reference", metavar="REF", help="real side (of a run: its own data)")
    _add_choices(verb)
    verb.add_argument("--num-images", type=_positive, metavar="N", help="how many are scored")
    verb.add_argument(
        "--image-size", type=_positive, metavar="PX", help="with --images: crop and resize each"
    )
    verb.add_argument(
        "--seeds", type=_numbers, default=(0,), metavar="0,1,2", help="mean and sd over several"
    )
    verb.add_argument("--truncation", type=float, metavar="PSI", help="of a run's latents")
    verb.add_argument("--watch", action="store_true", help="follow a running training to its end")
    verb.add_argument(
        "--watch-timeout",
        type=float,
        default=3600.0,
        metavar="SECONDS",
        help="stop watching when no checkpoint has come for so long (default 3600)",
    )
    verb.add_argument("--json", action="store_true", help="print JSON on stdout, nothing else")
    verb.set_defaults(run=_eval)


def _add_reference(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = subparsers.add_parser("reference", help="compute and cache the real side of scores")
    verb.add_argument(
        "words", nargs="*", metavar="[CONFIG] section.field=value", help="default: digits"
    )
    verb.add_argument("--split", help="default: the config's data.split")
    _add_choices(verb)
    verb.add_argument("--out", type=Path, metavar="FILE.npz", help="also save it to one file")
    verb.set_defaults(run=_reference)


def _add_choices(verb: argparse.ArgumentParser) -> None:
    verb.add_argument(
        "--metrics", type=_words, metavar="fid,is,...", help="default: the config's eval.metrics"
    )
    verb.add_argument(
        "--num-real", type=_positive, metavar="N", help="so many real images (default: all)"
    )
    verb.add_argument("--features", metavar="NAME", help="network (default: eval.features)")
    verb.add_argument("--weights", type=Path, metavar="FILE", help="the network's weights")
    verb.add_argument(
        "--resizer", default="tf", help="tf (default), torch, clean: part of the score's name"
    )


def _add_compare(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    verb = subparsers.add_parser(
        "compare", help="set two results side by side, if they were measured alike"
    )
    verb.add_argument("a", metavar="A", help="a result's JSON, or a run: its last result")
    verb.add_argument("b", metavar="B")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=_compare)


def _eval(args: argparse.Namespace) -> int:
    overrides = [word for word in args.words if "=" in word]
    places = [word for word in args.words if "=" not in word]
    if args.images is None:
        require(
            len(places) == 1,
            "sagan eval needs one WORKDIR, or --images and --reference: see --help",
        )
        require(not overrides, f"{overrides[:1]}: a run is evaluated with its own config")
        require(args.image_size is None, "--image-size goes with --images")
        return _eval_run(args, Path(places[0]))
    require(not places, f"{places[:1]}: a WORKDIR and --images exclude each other")
    if args.reference is None:
        raise ConfigError("--images needs --reference DIR, PRESET:SPLIT or FILE.npz")
    for name, default in _CHECKPOINTS_ONLY.items():
        require(
            getattr(args, name) == default,
            f"--{name.replace('_', '-')} is for checkpoints, not for --images",
        )
    from sagan.evaluation import evaluate
    from sagan.parallel import joining as join

    join.initialize()
    evaluate.run_images(
        args.images,
        args.reference,
        overrides=overrides,
        metrics=args.metrics or ("fid", "is"),
        num_images=args.num_images,
        num_real=args.num_real,
        features=args.features or "inception",
        weights=args.weights,
        resizer=args.resizer,
        image_size=args.image_size,
        as_json=args.json,
    )
    return 0


def _eval_run(args: argparse.Namespace, workdir: Path) -> int:
    from sagan.evaluation import protocols

    protocols.require_truncation(args.truncation)
    from sagan.evaluation import evaluate, watch
    from sagan.parallel import joining as join

    join.initialize()
    try:
        evaluate.run(
            workdir,
            step=args.step,
            metrics=args.metrics,
            num_images=args.num_images,
            features=args.features,
            weights=args.weights,
            resizer=args.resizer,
            reference=args.reference,
            num_real=args.num_real,
            seeds=args.seeds,
            truncation=args.truncation,
            watch=args.watch,
            watch_timeout_seconds=args.watch_timeout,
            as_json=args.json,
        )
    except watch.UnfiledError as error:
        print(f"sagan: {error}", file=sys.stderr)
        return 1
    return 0


def _reference(args: argparse.Namespace) -> int:
    from sagan.config import presets

    words = list(args.words)
    name = words.pop(0) if words and "=" not in words[0] else "digits"
    config = presets.load(name, words)
    from sagan.evaluation import evaluate
    from sagan.parallel import joining as join

    join.initialize()
    evaluate.run_reference(
        config,
        split=args.split,
        metrics=args.metrics,
        num_real=args.num_real,
        features=args.features,
        weights=args.weights,
        resizer=args.resizer,
        out=args.out,
    )
    return 0


def _compare(args: argparse.Namespace) -> int:
    from sagan.evaluation import compare

    compare.run(args.a, args.b, as_json=args.json)
    return 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(word) for word in _words(text))
    if not numbers or min(numbers) < 0 or max(numbers) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}; wanted numbers below 2**32, such as 0,1,2")
    return numbers


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}; allowed: >= 1")
    return number
