"""`python -m sagan` is the `sagan` command."""

from sagan.cli import entry

entry()
