"""`sagan reference`: computes and caches the features of the real images that scores need."""

import argparse
from pathlib import Path

from sagan.cli.eval import add_score_arguments
from sagan.config.exit_codes import DONE


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser("reference", help="compute and cache real images' features")
    verb.add_argument(
        "words", nargs="*", metavar="[CONFIG] section.field=value", help="default: digits"
    )
    verb.add_argument("--split", help="default: the config's data.split")
    add_score_arguments(verb)
    verb.add_argument("--out", type=Path, metavar="FILE.npz", help="also save them to one file")
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from sagan.config import presets

    words = list(args.words)
    name = words.pop(0) if words and "=" not in words[0] else "digits"
    config = presets.load(name, words)
    from sagan.evaluation import ScoreSpec, reference
    from sagan.parallel import joining

    joining.initialize()
    spec = ScoreSpec.of(
        config.eval,
        metrics=args.metrics,
        features=args.features,
        num_real=args.num_real,
        weights=args.weights,
        resizer=args.resizer,
    )
    reference.run(config, spec, split=args.split, out=args.out)
    return DONE
