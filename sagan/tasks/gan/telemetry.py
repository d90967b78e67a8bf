"""What a step reports of the mechanisms: gates of attention, spectral norms."""

from collections.abc import Mapping
from typing import Any

from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float

from sagan.models.layers import spectral


def mechanisms(players: Mapping[str, Any], wanted: tuple[str, ...]) -> dict[str, Float[Array, ""]]:
    """Reads gamma of both players' attention, and sigma of the weights `wanted`."""
    found = {}
    for name, player in players.items():
        found |= gates(name, player.params)
        found |= sigmas(name, player.params, player.stats["spectral_stats"], wanted)
    return found


def gates(player: str, params: Mapping[str, Any]) -> dict[str, Float[Array, ""]]:
    """Reads gamma of every attention layer; it starts at 0 and may become negative."""
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    return {
        f"gamma/{player}/{path.removesuffix('/gamma')}": leaf
        for path, leaf in flat.items()
        if path.endswith("/gamma")
    }


def sigmas(
    player: str, params: Mapping[str, Any], stats: spectral.Stats, wanted: tuple[str, ...]
) -> dict[str, Float[Array, ""]]:
    """Estimates sigma of the weights whose `player/path` contains one of `wanted`."""
    chosen = {path: u for path, u in stats.items() if any(w in f"{player}/{path}" for w in wanted)}
    found = spectral.sigmas(params, spectral.iterate(params, chosen))
    return {f"sigma/{player}/{path.rpartition('/')[0]}": sigma for path, sigma in found.items()}
