"""Numbers and tables of text, for the terminal."""

from collections.abc import Sequence
from typing import Any


def table(
    rows: Sequence[Sequence[str]], head: Sequence[str], *, right_aligned: bool = False
) -> str:
    """Returns `rows` below `head` in columns two spaces apart, as lines without trailing spaces.

    Raises: ValueError if a row has more or fewer cells than `head`.
    """
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    align = str.rjust if right_aligned else str.ljust
    return "\n".join(
        "  ".join(align(cell, width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def shown(value: Any) -> str:
    """Returns a value as people read it: four digits, thousands apart, a list with dots between."""
    if isinstance(value, list):
        return " … ".join(shown(v) for v in value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or 1000 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"
