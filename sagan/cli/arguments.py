"""Arguments that several verbs share."""

import argparse

from sagan.config import Config

DEFAULT_PRESET = "digits"


def add_config_words(parser: argparse.ArgumentParser) -> None:
    """Adds `[CONFIG] section.field=value …`, which `load_config` reads."""
    parser.add_argument(
        "words",
        nargs="*",
        metavar="[CONFIG] section.field=value",
        help=f"a preset's name or a path to a .py (default {DEFAULT_PRESET}), then overrides",
    )


def load_config(args: argparse.Namespace) -> Config:
    """Returns the config that was typed.

    Raises: ConfigError if there is no such preset, file or field, or a value does not fit.
    """
    from sagan.config import presets

    name, overrides = split(args.words)
    return presets.load(name, overrides)


def split(words: list[str]) -> tuple[str, list[str]]:
    """Separates the config's name, or the default's, from the overrides that follow it."""
    if words and "=" not in words[0]:
        return words[0], words[1:]
    return DEFAULT_PRESET, words
