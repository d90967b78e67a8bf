"""Looking into traced functions."""

from typing import Any


def inner(equation: Any) -> list[Any]:
    """Lists the functions that an equation calls: the body of a loop, the branches of a choice."""
    found = []
    for value in equation.params.values():
        values = value if isinstance(value, (tuple, list)) else (value,)
        found += [v for v in values if hasattr(v, "eqns") or hasattr(v, "jaxpr")]
    return found


def calls(jaxpr: Any, primitive: str) -> bool:
    """Says whether a function uses `primitive`, itself or in what it calls."""
    return any(
        equation.primitive.name == primitive
        or any(calls(part, primitive) for part in inner(equation))
        for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns
    )
