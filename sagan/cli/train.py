"""`sagan train`: loads config and data, joins the job's other processes, and trains."""

import argparse
from pathlib import Path

from sagan.cli import arguments
from sagan.config import Config
from sagan.config.exit_codes import DONE


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser(
        "train",
        help="train; the same command again resumes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_epilog(),
    )
    arguments.add_config_words(verb)
    verb.add_argument("--workdir", type=Path, metavar="DIR", help="default: runs/<name>")
    verb.add_argument(
        "--init-from",
        type=Path,
        metavar="WORKDIR",
        help="start a new run from the weights of another run",
    )
    verb.add_argument("--dry-run", action="store_true", help="only print config and sizes")
    verb.set_defaults(run=_run)


def _epilog() -> str:
    from sagan.config import presets

    known = presets.abouts()
    width = max(map(len, known))
    lines = [f"  {name:{width}}  {about}" for name, about in known.items()]
    return "\n".join(["presets:", *lines, "", "`sagan config [PRESET]` lists all fields."])


def _run(args: argparse.Namespace) -> int:
    config = arguments.load_config(args)
    workdir = args.workdir or Path("runs") / config.name
    if args.init_from is not None:
        from sagan.runs import checkpoint

        checkpoint.read_config(args.init_from)
    # These need numpy alone, so what was typed is checked before jax starts.
    from sagan import data
    from sagan.data import decoded

    if args.dry_run and "data" not in vars(config.model).values():
        data.check_name(config.data)
        return _describe(config)
    source = data.load(config.data, config.model.image_size)
    config = data.resolve(config, source)
    if args.dry_run:
        return _describe(config)
    size, limit = config.model.image_size, config.data.resident_bytes
    source = decoded.decode_up_to(source, size, limit)
    from sagan.parallel import joining, processes
    from sagan.training import loop, prepare

    config, source = loop.resolve(config, source)
    workdir = prepare.writable(workdir)
    joining.initialize(preemptible=True)
    picture = loop.run(config, workdir, source, init_from=args.init_from)
    if processes.is_main() and picture.exists():
        print(f"samples: {picture}")
    return DONE


def _describe(config: Config) -> int:
    from sagan.training import preflight

    print(preflight.describe(config))
    return DONE
