"""How generators and discriminators of these projects are put together: where which layer is."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from sagan.tasks.gan.imports.filling import Change, Filling

Norm = Callable[[Filling, str, str], None]


class Names(NamedTuple):
    """A project's names of the parts of a block, by ours.

    Attributes:
      convs, norms: of a residual block; a network has some of them.
      attention: of the four convolutions of self-attention.
      gate: of its gamma.
    """

    convs: Mapping[str, str]
    norms: Mapping[str, str]
    attention: Mapping[str, str]
    gate: str


class Places(NamedTuple):
    """Where a network's parts are in its project, by our names.

    Attributes:
      layers: outside of blocks, such as `linear` and `output`.
      blocks, attention: prefixes of keys.
    """

    layers: Mapping[str, str]
    blocks: Mapping[str, str]
    attention: Mapping[str, str]


def fill(
    filling: Filling,
    names: Names,
    places: Places,
    norm: Norm | None = None,
    rows: Mapping[str, Change] | None = None,
    columns: Mapping[str, Change] | None = None,
) -> None:
    """Fills layers, blocks and attention; class tables and the last norm are left to the project.

    Args:
      norm: norm(filling, theirs, ours) fills one norm of a block.
      rows, columns: of layers outside of blocks; see `Filling.layer`.
    """
    for ours, theirs in places.layers.items():
        filling.layer(theirs, ours, (rows or {}).get(ours), (columns or {}).get(ours))
    for ours, theirs in places.blocks.items():
        for part, name in names.convs.items():
            if filling.needs(f"{ours}/{part}/kernel"):
                filling.layer(f"{theirs}.{name}", f"{ours}/{part}")
        for part, name in names.norms.items() if norm else ():
            if filling.needs(f"{ours}/{part}/scale/kernel") or filling.needs(
                f"{ours}/{part}/scale"
            ):
                assert norm is not None
                norm(filling, f"{theirs}.{name}", f"{ours}/{part}")
    for ours, theirs in places.attention.items():
        for part, name in names.attention.items():
            filling.layer(f"{theirs}.{name}", f"{ours}/{part}")
        filling.gate(f"{theirs}.{names.gate}", f"{ours}/gamma")
