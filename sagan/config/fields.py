"""Fields of dataclasses: reading their values from text, and checking types and limits.

A field's type hint decides what it takes. Hints may be `int`, `float`, `bool`, `str`, `Literal`,
`tuple[T, ...]`, unions of these, and `Annotated[T, limits]`, where `limits.check(key, value)`
raises a ConfigError.
"""

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from sagan.config.exit_codes import BAD_INPUT, Failure


class ConfigError(Failure):
    """A value from the user is not allowed; the text names it, what is allowed, and where."""

    exit_code = BAD_INPUT


class Limits(NamedTuple):
    """The numbers that a field allows. `at_least` includes its number, `above` and `below` do not.

    None means that there is no such limit.
    """

    at_least: int | float | None = None
    above: int | float | None = None
    below: int | float | None = None

    def check(self, key: str, value: int | float) -> None:
        """Raises: ConfigError if `value`, which the user gave for `key`, is outside."""
        inside = (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        require(inside, f"{key}={value}; allowed: {self.text()}")

    def text(self) -> str:
        signs = zip((">=", ">", "<"), self, strict=True)
        return " and ".join(f"{sign} {limit}" for sign, limit in signs if limit is not None)


Count = Annotated[int, Limits(at_least=1)]
CountOrZero = Annotated[int, Limits(at_least=0)]
Positive = Annotated[float, Limits(above=0)]
NotNegative = Annotated[float, Limits(at_least=0)]
Fraction = Annotated[float, Limits(at_least=0, below=1)]


def require(condition: bool, message: str) -> None:
    """Raises: ConfigError with `message` unless `condition`."""
    if not condition:
        raise ConfigError(message)


def closest(name: str, known: Iterable[str]) -> str:
    """Returns `; did you mean X` with the known name closest to `name`, or an empty text."""
    found = near(name, known)
    return f"; did you mean {found}" if found else ""


def near(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name closest to `name`; None if none is like it. Case does not matter."""
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[found[0]] if found else None


@functools.cache
def hints(section: type) -> Mapping[str, Any]:
    """Returns the type hint of each field of a dataclass, with its limits."""
    return types.MappingProxyType(typing.get_type_hints(section, include_extras=True))


def parse(text: str, hint: Any, key: str) -> Any:
    """Reads `text` as a value of type `hint`; the first alternative that fits wins.

    Raises: ConfigError naming `key` if none fits.
    """
    alternatives = [kind for kind, _ in _alternatives(hint)]
    for kind in alternatives:
        if kind is type(None):
            if text.lower() in ("none", "null"):
                return None
        elif kind is bool:
            if text.lower() in ("true", "false", "1", "0"):
                return text.lower() in ("true", "1")
        elif kind in (int, float):
            try:
                number = kind(text)
            except ValueError:
                continue
            if fits(number, kind):
                return number
        elif kind is str:
            return text
        elif typing.get_origin(kind) is Literal:
            if text in typing.get_args(kind):
                return text
        elif typing.get_origin(kind) is tuple:
            inner = text.strip().strip("()[]")
            items = [item.strip() for item in inner.split(",") if item.strip()]
            if text.lower() not in ("none", "null") or type(None) not in alternatives:
                items = [] if text.lower() == "none" else items
                return tuple(parse(item, typing.get_args(kind)[0], key) for item in items)
    raise ConfigError(f"{key}={text!r} is not {describe(hint)}")


def _alternatives(hint: Any) -> list[tuple[Any, tuple[Any, ...]]]:
    """Lists the types that a hint allows, each with its limits."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [pair for one in typing.get_args(hint) for pair in _alternatives(one)]
    if typing.get_origin(hint) is Annotated:
        kind, *limits = typing.get_args(hint)
        return [(inner, (*limits, *more)) for inner, more in _alternatives(kind)]
    return [(hint, ())]


def describe(hint: Any) -> str:
    """Returns what a hint allows, without limits, as `an int or none`."""
    words = []
    for kind, _ in _alternatives(hint):
        if kind is type(None):
            words.append("none")
        elif typing.get_origin(kind) is Literal:
            words.append("one of " + ", ".join(map(str, typing.get_args(kind))))
        elif typing.get_origin(kind) is tuple:
            words.append(f"a comma-separated list of {typing.get_args(kind)[0].__name__}")
        else:
            words.append({int: "an int", float: "a finite float"}.get(kind, f"a {kind.__name__}"))
    return " or ".join(words)


def limits_text(hint: Any) -> str:
    """Returns the limits of a hint as `>= 1`; an empty text where it has none."""
    found = {limit.text(): None for _, limits in _alternatives(hint) for limit in limits}
    return ", ".join(found)


def fits(value: Any, hint: Any) -> bool:
    """Returns whether `value` is of a type that `hint` allows; limits are not looked at."""
    for kind, _ in _alternatives(hint):
        if typing.get_origin(kind) is Literal:
            if isinstance(value, str) and value in typing.get_args(kind):
                return True
        elif typing.get_origin(kind) is tuple:
            item = typing.get_args(kind)[0]
            if isinstance(value, tuple) and all(fits(v, item) for v in value):
                return True
        elif kind is float:
            if isinstance(value, (int, float)) and not isinstance(value, bool) and _finite(value):
                return True
        elif kind is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return True
        elif isinstance(value, kind):
            return True
    return False


def _finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float holds
        return False


def check(section: Any, prefix: str) -> None:
    """Checks every field of a dataclass against its type and limits.

    Args:
      prefix: the section's name, or an empty text for the top of the config.

    Raises: ConfigError naming the first field that does not fit.
    """
    known = hints(type(section))
    for field in dataclasses.fields(section):
        value, hint = getattr(section, field.name), known[field.name]
        key = f"{prefix}.{field.name}" if prefix else field.name
        if not fits(value, hint):
            raise ConfigError(f"{key}={value!r} is not {describe(hint)}")
        for kind, limits in _alternatives(hint):
            if limits and fits(value, kind):
                for limit in limits:
                    limit.check(key, value)


def build(section: type, values: Any, prefix: str = "") -> Any:
    """Makes the dataclass `section` from a mapping; absent fields take their defaults.

    Raises: ConfigError for a key that the dataclass does not have, or a value that does not fit.
    """
    require(isinstance(values, Mapping), f"config: {prefix or 'the top'} is not an object")
    known = hints(section)
    for name in values:
        if name not in known:
            key = f"{prefix}.{name}" if prefix else str(name)
            raise ConfigError(
                f"unknown config key {key!r}{closest(str(name), known)}; "
                f"{prefix or 'the top'} has: {', '.join(known)}"
            )
    lists = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return section(**lists)
