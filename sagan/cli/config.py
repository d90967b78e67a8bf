"""`sagan config`: prints every field of a config, with its meaning, default and limits."""

import argparse
import textwrap
from collections.abc import Iterator

from sagan.cli import arguments
from sagan.config import Config
from sagan.config.exit_codes import DONE

_WIDTH = 96


def register(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the verb; `args.run(args)` returns the exit code."""
    verb = verbs.add_parser(
        "config",
        help="list every field with its meaning, default and limits",
        description="List every field as section.field=value, with its meaning, its default and "
        "what it allows. Without CONFIG, the values are the defaults.",
    )
    arguments.add_config_words(verb)
    verb.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> int:
    print("\n".join(_lines(arguments.load_config(args) if args.words else Config())))
    return DONE


def _lines(config: Config) -> Iterator[str]:
    from sagan.config import meanings

    for name, about, fields in meanings.sections(config):
        if name:
            yield f"\n{name}: {about}"
        for field in fields:
            changed = "" if field.value == field.default else f"; default {field.default}"
            yield f"  {field.key}={field.value}  ({field.allowed}{changed})"
            yield textwrap.indent(textwrap.fill(field.text, _WIDTH - 6), " " * 6)
