"""Scalars that are read off the state: gamma of the attention layers and spectral norms."""

from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from sagan.models.layers import spectral

Scalars = dict[str, Float[Array, ""]]


def gammas(player: str, params: Mapping[str, Any]) -> Scalars:
    """Returns gamma of every attention layer; it starts at 0 and may become negative."""
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    return {
        f"gamma/{player}/{path.removesuffix('/gamma')}": leaf
        for path, leaf in flat.items()
        if path.endswith("/gamma")
    }


def sigmas(
    player: str, params: Mapping[str, Any], stats: spectral.Stats, wanted: tuple[str, ...]
) -> Scalars:
    """Estimates the largest singular value of some weights.

    Args:
      wanted: a weight is reported if `player/path` contains one of these texts.
    """
    chosen = {path: u for path, u in stats.items() if any(w in f"{player}/{path}" for w in wanted)}
    found = spectral.sigmas(params, spectral.iterate(params, chosen))
    return {f"sigma/{player}/{path.rpartition('/')[0]}": sigma for path, sigma in found.items()}
