"""What every field of a config means: the comments above the fields, with defaults and limits.

`sagan config` prints this, and docs/configs.md is made from it.
"""

import ast
import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from sagan.config.fields import describe, hints, limits_text
from sagan.config.schema import Config


class Meaning(NamedTuple):
    """One field: its key, its value and its default as they are typed, what it allows and means."""

    key: str
    value: str
    default: str
    allowed: str
    text: str


def sections(config: Config) -> Iterator[tuple[str, str, list[Meaning]]]:
    """Yields the name, the docstring and the fields of each section; the top's name is empty."""
    yield "", "", _fields(config, "")
    for field in dataclasses.fields(config):
        section = getattr(config, field.name)
        if dataclasses.is_dataclass(section):
            yield field.name, inspect.getdoc(section) or "", _fields(section, f"{field.name}.")


def _fields(section: Any, prefix: str) -> list[Meaning]:
    known, texts, made = hints(type(section)), _comments(type(section)), type(section)()
    found = []
    for field in dataclasses.fields(section):
        value, hint = getattr(section, field.name), known[field.name]
        if dataclasses.is_dataclass(value):
            continue
        limits = limits_text(hint)
        found.append(
            Meaning(
                key=prefix + field.name,
                value=_typed(value),
                default=_typed(getattr(made, field.name)),
                allowed=describe(hint) + (f", {limits}" if limits else ""),
                text=texts.get(field.name, ""),
            )
        )
    return found


def _comments(section: type) -> dict[str, str]:
    """Returns, by field, the comment above it in the source of a dataclass and its bases."""
    found: dict[str, str] = {}
    for kind in reversed(section.__mro__):
        if not dataclasses.is_dataclass(kind):
            continue
        lines = inspect.getsource(kind).splitlines()
        (definition,) = ast.parse("\n".join(lines)).body
        assert isinstance(definition, ast.ClassDef)
        for node in definition.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                above, line = [], node.lineno - 2
                while lines[line].strip().startswith("#"):
                    above.insert(0, lines[line].strip().lstrip("# "))
                    line -= 1
                found[node.target.id] = " ".join(above)
    return found


def _typed(value: Any) -> str:
    """Returns a value as the command line takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
