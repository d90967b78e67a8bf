"""`sagan report`: one page of HTML that shows runs, without a server or a network."""

import argparse
import os
from pathlib import Path

from sagan.config.exit_codes import DONE


def register(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit status."""
    verb = subparsers.add_parser("report", help="write a page that shows one run, or several")
    verb.add_argument("workdirs", nargs="+", type=Path, metavar="WORKDIR")
    verb.add_argument(
        "--out", type=Path, metavar="FILE.html", help="default: report.html, in a single WORKDIR"
    )
    verb.add_argument(
        "--link", action="store_true", help="refer to all pictures in samples/, in place of holding"
        " some; the page then needs them",
    )  # fmt: skip
    verb.add_argument("--watch", action="store_true", help="write it anew while a run is going on")
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    # The page needs no accelerator, and must not take one away from a run that is going on.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    from sagan.training import report

    make = report.watch if args.watch else report.write
    path = make(args.workdirs, args.out, link=args.link)
    print(path)
    return DONE
