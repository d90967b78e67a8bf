"""What names and shapes of a source's arrays say about its networks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sagan.config import ConfigError
from sagan.config.fields import closest, require
from sagan.models import biggan_deep, sagan
from sagan.tasks.gan.imports.filling import Arrays

Role = Literal["generator", "discriminator"]
Fields = dict[str, Any]


def key(arrays: Arrays, stem: str) -> str:
    """Returns the key of a layer's weight, with spectral norm or without.

    Raises: ConfigError naming the closest key if it is missing.
    """
    names = (stem, f"{stem}_orig")
    found = [name for name in names if name in arrays]
    if not found:
        raise ConfigError(
            f"the file has no array {stem!r}{closest(stem, arrays)}; needed to find out which "
            "network it is"
        )
    return found[0]


def shape(arrays: Arrays, stem: str) -> tuple[int, ...]:
    """Returns the shape of a layer's weight. Raises: as `key`."""
    return arrays[key(arrays, stem)].shape


def numbers(arrays: Arrays, pattern: str) -> list[int]:
    """Returns the numbers that a regular expression's only group has found in keys, in order."""
    found = (re.match(pattern, name) for name in arrays)
    return sorted({int(match[1]) for match in found if match})


def widths(table: Mapping[int, sagan.Widths], size: int) -> sagan.Widths:
    """Returns the widths of an image size. Raises: ConfigError if there are none."""
    require(
        size in table, f"a generator of {size} px by its number of blocks; no such network is known"
    )
    return table[size]


def deep_size(arrays: Arrays, convs: Sequence[str], sizes: Sequence[int]) -> tuple[int, int]:
    """Returns the image size of BigGAN-deep and its blocks per stage.

    Args:
      convs: for each block of the generator, the keys of its convolutions, with {} for the number.
      sizes: that the project has.

    Raises: ConfigError if none has these widths.
    """
    ins = [shape(arrays, conv.format(1))[1] for conv in convs]
    outs = [shape(arrays, conv.format(4))[0] for conv in convs]
    for size in sizes:
        first, *stages = biggan_deep.WIDTHS[size].g
        depth, rest = divmod(len(convs), len(stages))
        if not rest and depth:
            wanted = [first, *stages]
            base = ins[0] // first
            fits = ins[0] == base * first and all(
                ins[s * depth] == base * wanted[s]
                and outs[(s + 1) * depth - 1] == base * wanted[s + 1]
                for s in range(len(stages))
            )
            if fits:
                return size, depth
    raise ConfigError(
        f"a BigGAN-deep with blocks of {ins} channels, the last one making {outs[-1:]}; "
        f"known: the networks of {', '.join(map(str, sizes))} px"
    )


def attention_d(found: Fields, sizes: tuple[int, ...]) -> Fields:
    """Returns the field of the discriminator's attention, where it is not the generator's."""
    return {} if set(sizes) == set(found["attention"]) else {"attention_d": tuple(sorted(sizes))}


def first_of_sizes(model: Any, down: int, prefixes: Sequence[str]) -> dict[str, str]:
    """Returns where the discriminator's attention is: after the first map of each size.

    Args:
      down: how many of its stages halve the size.
      prefixes: of attention after each stage.
    """
    places: dict[str, str] = {}
    for number, prefix in enumerate(prefixes, 1):
        size = model.image_size >> min(number, down)
        if size in model.discriminator_attention:
            places.setdefault(f"attention_{size}", prefix)
    return places
