"""Tables of text, for the terminal."""

from collections.abc import Sequence


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
