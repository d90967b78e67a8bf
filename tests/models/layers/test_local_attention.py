"""The local forms of attention, compared with a mask written as a loop."""

import functools
import itertools

import jax
import numpy as np
import pytest
from support.attending import form_of, maps_of, require_close, with_gradient

from sagan.models.layers import attend


def _sees(form, block, size, pooled, query, key):
    """Returns whether a query looks at a key, from the description of the local forms."""
    (row, column), (key_row, key_column) = query, key
    step = 2 if pooled else 1
    if form == "local_1d":
        length, side = block**2, size // step
        if length >= size**2:
            return True
        each = length // step**2  # keys of a block
        first = (row * size + column) // length * each - each // 2
        return first <= key_row * side + key_column < first + 2 * each
    if block >= size:
        return True
    each = block // step
    return all(
        (at // block) * each - each // 2 <= there < (at // block) * each + each + each // 2
        for at, there in ((row, key_row), (column, key_column))
    )


def _by_mask(form, block, maps):
    query, key, value = (np.asarray(x, np.float64) for x in maps)
    size, side = query.shape[1], key.shape[1]
    out = np.zeros((*query.shape[:3], value.shape[-1]))
    seen = np.zeros((size * size, side * side), bool)
    for row, column in itertools.product(range(size), repeat=2):
        keys = [
            k
            for k in itertools.product(range(side), repeat=2)
            if _sees(form, block, size, size != side, (row, column), k)
        ]
        seen[row * size + column, [r * side + c for r, c in keys]] = True
        at = tuple(np.array(keys).T)
        scores = np.einsum("bc,bkc->bk", query[:, row, column], key[:, *at])
        weights = np.exp(scores - scores.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        out[:, row, column] = np.einsum("bk,bkc->bc", weights, value[:, *at])
    return out, seen


CASES = [
    ("local_1d", 4, 8, True),
    ("local_1d", 8, 16, True),
    ("local_1d", 2, 8, False),
    ("local_1d", 4, 8, False),
    ("local_2d", 4, 8, True),
    ("local_2d", 4, 16, True),
    ("local_2d", 2, 8, False),
    ("local_2d", 8, 8, True),
]


@pytest.mark.parametrize(("form", "block", "size", "pooled"), CASES)
def test_local_forms_look_at_the_keys_that_they_should(form, block, size, pooled):
    maps = maps_of(size, pooled)
    expected, seen = _by_mask(form, block, maps)
    gather, gather_with_map = (
        jax.jit(functools.partial(f, form, block)) for f in (attend.gather, attend.gather_with_map)
    )
    np.testing.assert_allclose(gather(*maps), expected, atol=1e-5)
    out, weights = gather_with_map(*maps)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(weights) > 0, np.broadcast_to(seen, weights.shape))


@pytest.mark.parametrize("form", ["local_1d", "local_2d"])
@pytest.mark.parametrize("pooled", [True, False])
def test_a_block_that_covers_everything_is_full_attention(form, pooled):
    maps = maps_of(8, pooled)
    expected = with_gradient(form_of("full"), maps)
    for block in (8, 16, 30):
        require_close(with_gradient(form_of(form, block), maps), expected)


@pytest.mark.parametrize(
    ("form", "block", "size", "pooled", "text"),
    [
        ("local_2d", 6, 16, True, "6.*16 x 16.*4"),
        ("local_2d", 3, 16, False, "3.*16 x 16.*2"),
        ("local_2d", 12, 16, True, "12.*16 x 16"),
        ("local_1d", 12, 16, True, "12.*16 x 16"),
        ("local_1d", 4, 16, True, "4.*16 x 16.*32"),
        ("local_1d", 0, 16, True, "0.*16 x 16.*4"),
    ],
)
def test_blocks_that_do_not_fit_are_refused(form, block, size, pooled, text):
    with pytest.raises(ValueError, match=text):
        attend.gather(form, block, *maps_of(size, pooled))
