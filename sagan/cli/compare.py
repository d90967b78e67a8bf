"""`sagan compare`: prints two results side by side, if they were measured in the same way."""

import argparse

from sagan.config.exit_codes import DONE


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser(
        "compare", help="set two results side by side, if they were measured alike"
    )
    verb.add_argument("a", metavar="A", help="a result's JSON, or a run: its last result")
    verb.add_argument("b", metavar="B")
    verb.add_argument("--json", action="store_true")
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    from sagan.evaluation import compare

    compare.run(args.a, args.b, as_json=args.json)
    return DONE
