"""The layout of a saved state: names, shapes and dtypes of its arrays."""

from collections.abc import Sequence
from typing import Any

import jax

_MAX_SHOWN = 8


def top_level(tree: Any) -> list[str]:
    """Returns the names at the top of a tree, sorted."""
    return sorted({name.split(".")[0] for name in _leaves(tree)})


def differences(saved: Any, wanted: Any) -> str:
    """Describes the first arrays that differ in name, shape or dtype; empty if none does."""
    old, new = _leaves(saved), _leaves(wanted)
    different = [
        f"{name}: saved {old.get(name, 'nothing')}, wanted {new.get(name, 'nothing')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    return "; ".join(different[:_MAX_SHOWN]) + ("; …" if len(different) > _MAX_SHOWN else "")


def _leaves(tree: Any) -> dict[str, str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_name(path): f"{tuple(leaf.shape)} {leaf.dtype}" for path, leaf in leaves}


def _name(path: Sequence[Any]) -> str:
    """Names a leaf the same whether a level is a tuple, a named tuple or a dict."""
    parts = [getattr(p, "name", getattr(p, "key", getattr(p, "idx", p))) for p in path]
    return ".".join(str(part) for part in parts)
