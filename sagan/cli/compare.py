"""`sagan compare`: sets results side by side, if they were measured in the same way."""

import argparse

from sagan.config.exit_codes import DONE


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser(
        "compare", help="set results side by side, if they were measured alike"
    )
    verb.add_argument(
        "results",
        nargs="+",
        metavar="RESULT",
        help="a result's JSON, or a run: its last result; runs that differ in the seed alone are "
        "averaged, and two such averages are compared by Welch's test",
    )
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from sagan.evaluation import compare

    compare.run(args.results, as_json=args.json)
    return DONE
