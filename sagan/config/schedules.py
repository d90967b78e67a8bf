"""Shim."""

from typing import NamedTuple

from sagan.config.fields import ConfigError


class Schedule(NamedTuple):
    kind: str
    start: float
    end: float
    images: float


def parse(value, field="schedule"):
    if not isinstance(value, str):
        return value
    try:
        kind, start, end, images = value.split(":")
        assert kind in ("linear", "cosine")
        return Schedule(kind, float(start), float(end), float(images))
    except (ValueError, AssertionError):
        try:
            return float(value)
        except ValueError:
            raise ConfigError(f"{field}={value!r}") from None
