"""Numbers on the command line, as argparse reads them: `add_argument(..., type=positive)`."""

import argparse


def positive(text: str) -> int:
    """Reads a whole number of at least 1."""
    return _at_least(text, 1)


def not_negative(text: str) -> int:
    """Reads a whole number of at least 0."""
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    number = int(text)
    if number < least:
        raise argparse.ArgumentTypeError(f"{text}; allowed: >= {least}")
    return number
