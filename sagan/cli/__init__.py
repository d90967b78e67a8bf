"""The command line: arguments → one call → an exit status. jax is imported only inside a verb.

Exit codes: 0 done · 1 a bug or a device error · 2 bad command line or config · 3 diverged ·
4 no usable checkpoint, one of another run, or a work directory in use · 42 saved and preempted ·
134 hung or peer lost.
"""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from sagan import __version__
from sagan.cli import process
from sagan.config import ConfigError

_PREEMPTED = 42
_PEER_LOST = 134


def entry() -> None:
    """Runs the command line and ends the process with its status."""
    process.use_huge_pages()
    process.collect_rarely()
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    if (
        status
        and "sagan.parallel.joining" in sys.modules
        and sys.modules["sagan.parallel.joining"].has_peers()
    ):
        # Interpreter shutdown would wait minutes for the other processes.
        os._exit(status)
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb; returns the exit status."""
    parser = _parser()
    args, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(args, "words") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # overrides behind an option: argparse takes positionals in one run only
        args.words = [*args.words, *rest]
    _use_caches()
    try:
        return args.run(args)
    except ConfigError as error:
        print(f"sagan: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sagan: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        return _status(error)


def _status(error: Exception) -> int:
    from sagan.parallel.roll_call import JoinError
    from sagan.runs.checkpoint import CheckpointError, SaveError
    from sagan.runs.lock import LockedError
    from sagan.training.divergence import Diverged
    from sagan.training.stop import Preempted

    if isinstance(error, Preempted):
        print(f"sagan: stopped on request; {error}", file=sys.stderr)
        return _PREEMPTED
    if isinstance(error, Diverged):
        print(f"sagan: {error}", file=sys.stderr)
        return 3
    if isinstance(error, CheckpointError | LockedError):
        print(f"sagan: {error}", file=sys.stderr)
        return 4
    if isinstance(error, JoinError):
        print(f"sagan: {error}", file=sys.stderr)
        return _PEER_LOST
    from sagan.parallel import device_error

    meaning = device_error.meaning(error)
    if isinstance(error, SaveError) and meaning is None:
        logging.disable()  # Orbax's threads still have pages to say; this is the last word
        print(f"sagan: {error}", file=sys.stderr)
        return 1
    traceback.print_exception(error)
    if meaning is None:
        return 1
    print(f"sagan: {meaning.text}", file=sys.stderr)
    return meaning.status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sagan", description="Train, score and sample self-attention GANs."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    train = verbs.add_parser("train", help="train; the same command again resumes")
    _config_words(train)
    train.add_argument("--workdir", type=Path, metavar="DIR", help="default: runs/<name>")
    train.add_argument("--dry-run", action="store_true", help="print config and sizes, only")
    train.set_defaults(run=_train)

    check = verbs.add_parser("check", help="look at data, devices and sizes before a run")
    _config_words(check)
    check.set_defaults(run=_check)

    _add_sample(verbs)
    from sagan.cli import bench, eval, launch

    bench.register(verbs)
    eval.register(verbs)
    launch.register(verbs)
    return parser


def _config_words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[CONFIG] section.field=value",
        help="a preset's name or a path to a .py (default digits), then overrides",
    )


def _add_sample(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    sample = verbs.add_parser("sample", help="draw images from a checkpoint")
    sample.add_argument("workdir", type=Path)
    sample.add_argument("--step", default="latest", help="latest (default), best, or a number")
    sample.add_argument(
        "--classes", metavar="3,7|cat,dog", help="by number or name (default: all in turn)"
    )
    sample.add_argument(
        "--num", type=int, help="of each class given, or in all (64; with a picture: 8)"
    )
    sample.add_argument("--seed", type=int, default=0)
    sample.add_argument("--truncation", type=float, metavar="PSI", help="scale latents by this")
    kinds = sample.add_mutually_exclusive_group()
    kinds.add_argument("--grid", action="store_true", help="one sheet instead of single files")
    kinds.add_argument(
        "--interpolate", nargs=2, type=int, metavar=("A", "B"), help="between two images' latents"
    )
    kinds.add_argument("--attention", action="store_true", help="where query points look")
    sample.add_argument(
        "--points",
        metavar="R,C R,C",
        nargs="+",
        help="query points of --attention as fractions of the image (default: three)",
    )
    sample.add_argument("--out", type=Path, required=True, metavar="PATH")
    sample.set_defaults(run=_sample)


def _load(args: argparse.Namespace):  # noqa: ANN202
    from sagan.config import presets

    words = list(args.words)
    name = words.pop(0) if words and "=" not in words[0] else "digits"
    return presets.load(name, words)


def _train(args: argparse.Namespace) -> int:
    config = _load(args)
    workdir = args.workdir or Path("runs") / config.name
    from sagan import data
    from sagan.data import decoded

    source = data.load(config.data, config.model.image_size)
    config = data.resolve(config, source)
    if not args.dry_run:
        source = decoded.decode_up_to(source, config.model.image_size, config.data.resident_bytes)
    from sagan.parallel import joining as join
    from sagan.parallel.processes import is_main
    from sagan.training import loop as train

    train.check(config)
    if args.dry_run:
        from sagan.training import preflight as check

        print(check.describe(config))
        return 0
    _require_writable(workdir)
    join.initialize(preemptible=True)
    picture = train.run(config, workdir, source)
    if is_main() and picture.exists():
        print(f"samples: {picture}")
    return 0


def _require_writable(workdir: Path) -> None:
    """Raises: ConfigError, before anything is compiled, if `workdir` cannot be written."""
    if "[" in str(workdir.absolute()):  # Orbax takes its own folders for patterns of names
        raise ConfigError(f"--workdir {workdir.absolute()}: allowed: paths without '['")
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(f"--workdir {workdir} cannot be written: {error.strerror}") from error


def _use_caches() -> None:
    """Keeps compiled programs for the next start, unless the environment says where or not."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and not os.environ.get("SAGAN_COORDINATOR"):
        from sagan.files import cache

        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache.folder() / "jax")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")


def _check(args: argparse.Namespace) -> int:
    config = _load(args)
    from sagan.training import preflight as check

    return check.run(config)


def _sample(args: argparse.Namespace) -> int:
    classes = args.classes.split(",") if args.classes else None
    points = () if args.attention else None
    if args.points:
        if not args.attention:
            raise ConfigError("--points goes with --attention")
        points = tuple(_point(text) for text in args.points)
    from sagan.evaluation import results
    from sagan.runs.checkpoint import read_config
    from sagan.tasks.gan import sample

    if args.step == "latest":
        step = None
    elif args.step == "best":
        step = results.best_step(args.workdir, read_config(args.workdir))
    elif args.step.isdecimal():
        step = int(args.step)
    else:
        raise ConfigError(f"--step {args.step}; allowed: latest, best, or a number")
    picture = args.grid or args.attention
    request = sample.Request(
        out=args.out,
        classes=tuple(classes) if classes else None,
        num=args.num if args.num is not None else 8 if picture else 64,
        seed=args.seed,
        truncation=args.truncation,
        grid=args.grid,
        interpolate=tuple(args.interpolate) if args.interpolate else None,
        attention=points,
    )
    files = sample.run(args.workdir, request, step=step)
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
