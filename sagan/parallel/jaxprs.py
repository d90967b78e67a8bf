"""Searching traced functions."""

from typing import Any


def inner(equation: Any) -> list[Any]:
    """Lists the functions that an equation calls, such as the body of a loop."""
    found = []
    for value in equation.params.values():
        values = value if isinstance(value, (tuple, list)) else (value,)
        found += [v for v in values if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
    return found


def calls(jaxpr: Any, primitive: str) -> bool:
    """Returns whether a function uses `primitive`, directly or in a function that it calls."""
    return any(
        equation.primitive.name == primitive
        or any(calls(part, primitive) for part in inner(equation))
        for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns
    )
