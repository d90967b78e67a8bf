"""`sagan launch TARGET`: the targets add their arguments themselves, in `sagan/launch/`."""

import argparse

from sagan.launch import planning


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb `launch` with its targets; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser(
        "launch",
        help="start a training on this machine, a cluster or a cloud",
        description="Start a training. The same run id is the same work directory, so launching "
        "again resumes. docs/launching.md shows each target from the beginning.",
    )
    targets = verb.add_subparsers(dest="target", metavar="TARGET", required=True)
    for name in planning.TARGETS:
        target = planning.target(name)
        parser = targets.add_parser(name, help=target.HELP, description=target.HELP)
        planning.add_common_arguments(parser)
        target.add_arguments(parser)
        parser.set_defaults(run=planning.run)
