"""`python -m sagan` is the `sagan` command."""

from sagan.cli import entry

if __name__ == "__main__":  # worker processes import this file again
    entry()
