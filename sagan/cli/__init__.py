"""The command line: one file for each verb, and how the process starts and ends.

A verb's file adds its arguments and turns them into one call, which returns an exit code (see
`sagan.config.exit_codes`). jax is imported only when a verb runs.
"""

import argparse
import importlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from sagan import __version__
from sagan.cli import process
from sagan.config import ConfigError, exit_codes
from sagan.config.exit_codes import Failure
from sagan.config.fields import closest
from sagan.files import cache, places

_VERBS = (
    "train", "config", "prepare", "check", "sample", "caption", "import", "export", "publish",
    "bench", "eval", "reference", "compare", "report", "launch", "completion",
)  # fmt: skip
_MODULES = {"import": "importing"}  # verbs that no module can be called after


def entry() -> None:
    """Runs the command line and ends the process with its exit code."""
    process.use_huge_pages()
    process.collect_rarely()
    process.print_anything()
    status = main(ends_process=True)
    sys.stdout.flush()
    sys.stderr.flush()
    joining = sys.modules.get("sagan.parallel.joining")
    if status and joining is not None and joining.has_peers():
        # The interpreter's shutdown would wait minutes for the other processes.
        os._exit(status)
    sys.exit(status)


def main(argv: Sequence[str] | None = None, *, ends_process: bool = False) -> int:
    """Runs one verb; returns the exit code.

    Args:
      argv: the words after `sagan`; None: those of this process.
      ends_process: the process ends afterwards, so that its log may be silenced after an error.
    """
    parser = build_parser()
    argv = sys.argv[1:] if argv is None else argv
    if argv and not argv[0].startswith("-") and argv[0] not in _VERBS:
        text = f"no verb {argv[0]!r}{closest(argv[0], _VERBS)}; verbs: {', '.join(_VERBS)}"
        return _explain(ConfigError(text))
    args, rest = parser.parse_known_args(argv)
    if rest and (not hasattr(args, "words") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # overrides behind an option, since argparse takes positionals in one run only
        args.words = [*args.words, *rest]
    cache.keep_compiled_programs()
    try:
        for value in vars(args).values():
            if isinstance(value, Path):
                places.local(value)
        return args.run(args)
    except KeyboardInterrupt:
        print("sagan: interrupted", file=sys.stderr)
        return exit_codes.INTERRUPTED
    except BrokenPipeError:
        return exit_codes.BROKEN_PIPE
    except Exception as error:
        if ends_process and isinstance(error, Failure):
            logging.disable()  # Orbax's threads still log pages; the error is to be the last line
        return _explain(error)


def _explain(error: Exception) -> int:
    """Prints an error: in one line if it is expected, else as a traceback. Returns the code."""
    if isinstance(error, Failure) and error.exit_code != exit_codes.CRASH:
        print(f"sagan: {error}", file=sys.stderr)
        return error.exit_code
    from sagan.parallel import device_error

    meaning = device_error.meaning(error)
    if isinstance(error, Failure) and meaning is None:
        print(f"sagan: {error}", file=sys.stderr)
        return error.exit_code
    traceback.print_exception(error)
    if meaning is None:
        return exit_codes.CRASH
    print(f"sagan: {meaning.text}", file=sys.stderr)
    return meaning.status


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="sagan", description="Train, score and sample self-attention GANs."
    )
    parser.add_argument("--version", action="version", version=__version__)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in _VERBS:
        importlib.import_module(f"sagan.cli.{_MODULES.get(name, name)}").register(verbs)
    return parser
