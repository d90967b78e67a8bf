"""Classes by what people call them."""

import unicodedata
from collections.abc import Sequence

from sagan.config import ConfigError
from sagan.config.fields import closest, require

_NAMED_CLASSES = 12  # in an error


def find(known: Sequence[str], wanted: Sequence[str | int]) -> list[int]:
    """Returns the labels of classes that are given by name or by number.

    A number is a label, counted from 0, unless some class has a number for a name: numbers are
    then names too. Spaces around a name, and how its accents are composed, do not matter.

    Args:
      known: the name of each label; empty if the model is unconditional.

    Raises: ConfigError if there is no such class, or one is given twice, or none is given.
    """
    require(len(known) > 0, "this model is unconditional: it has no classes to choose from")
    require(len(wanted) > 0, f"no class is given; allowed: {_allowed(known)}")
    found: dict[int, str | int] = {}
    for name in wanted:
        label = _label(known, str(name))
        require(
            label not in found,
            f"{found.get(label)!r} and {name!r} are the same class, whose images would be drawn "
            "twice; to get more images of it, raise their number",
        )
        found[label] = name
    return list(found)


def _label(known: Sequence[str], name: str) -> int:
    for spelling in (str, str.strip, _plain):
        same = [label for label, other in enumerate(known) if spelling(other) == spelling(name)]
        if len(same) == 1:
            return same[0]
    number = name.strip()
    if _is_number(number) and not any(map(_is_number, known)) and int(number) < len(known):
        return int(number)
    raise ConfigError(f"no class {name!r}{closest(name, known)}; allowed: {_allowed(known)}")


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip()


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _allowed(known: Sequence[str]) -> str:
    names = ", ".join(known[:_NAMED_CLASSES]) + (", …" if len(known) > _NAMED_CLASSES else "")
    return names if any(map(_is_number, known)) else f"0 … {len(known) - 1}, or {names}"


def split(text: str) -> tuple[str, ...]:
    r"""Splits names at commas. A backslash before a comma or backslash makes it part of a name.

    Raises: ConfigError if a name is empty.
    """
    names, escaped = [""], False
    for character in text:
        if escaped:
            names[-1] += character if character in ",\\" else f"\\{character}"
        elif character == ",":
            names.append("")
        elif character != "\\":
            names[-1] += character
        escaped = character == "\\" and not escaped
    names[-1] += "\\" if escaped else ""
    require(
        all(name.strip() for name in names),
        rf"{text!r} has an empty name; allowed: names between commas, such as 3,7 or cat,dog "
        r"(a comma that is part of a name is written \,)",
    )
    return tuple(names)
