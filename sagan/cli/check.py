"""`sagan check`: reports on data, devices and sizes before a run."""

import argparse

from sagan.cli import arguments


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser("check", help="look at data, devices and sizes before a run")
    arguments.add_config_words(verb)
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    config = arguments.load_config(args)
    from sagan.training import preflight

    return preflight.check(config)
