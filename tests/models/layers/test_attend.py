"""Forms of attention: against full attention, its gradient, and a mask written down by hand."""

import functools
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.parallel import flops
from sagan.models.layers import attend
from sagan.models.layers.attention import SelfAttention


@functools.cache
def _maps(size, pooled=True, channels=(3, 5)):
    side = size // 2 if pooled else size
    shapes = ((size, channels[0]), (side, channels[0]), (side, channels[1]))
    keys = jax.random.split(jax.random.key(0), 3)
    return [jax.random.normal(k, (2, n, n, c)) for k, (n, c) in zip(keys, shapes, strict=True)]


def _with_gradient(form, block, maps):
    def loss(*maps):
        out = attend.gather(form, block, *maps)
        return (out * jnp.cos(jnp.arange(out.size).reshape(out.shape))).sum(), out

    gradients, out = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(*maps)
    return [out, *gradients]


def _close(found, expected, atol=2e-5):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("chunk_scores", [1, 100, 16 * 37, 1 << 20])
def test_memory_efficient_equals_full(monkeypatch, pooled, chunk_scores):
    """With chunks of one query, chunks that do not divide, and a single one."""
    monkeypatch.setattr(attend, "_CHUNK_SCORES", chunk_scores)
    maps = _maps(8, pooled)
    _close(_with_gradient("memory_efficient", 0, maps), _with_gradient("full", 0, maps))


def _penalty(form):
    def gradient_norm(*maps):
        out = jax.grad(lambda *m: (attend.gather(form, 0, *m) ** 2).sum(), (0, 1, 2))(*maps)
        return sum((x**2).sum() for x in out)

    return jax.jit(jax.grad(gradient_norm, (0, 1, 2)))(*_maps(4))


def test_memory_efficient_has_the_second_gradient_that_penalties_need():
    _close(_penalty("memory_efficient"), _penalty("full"), atol=2e-3)


def test_gradients_of_chunks_add_up_in_float32(monkeypatch):
    monkeypatch.setattr(attend, "_CHUNK_SCORES", 64)  # one query each: 256 terms, all positive
    maps = [x.astype(jnp.bfloat16) for x in _maps(16)]

    def by_value(form, maps):
        return jax.jit(jax.grad(lambda v: attend.gather(form, 0, *maps[:2], v).sum()))(maps[2])

    found = by_value("memory_efficient", maps)
    exact = by_value("full", [x.astype(jnp.float32) for x in maps])
    assert found.dtype == jnp.bfloat16
    assert float(jnp.abs(found / exact - 1).max()) < 0.006  # half a unit of bfloat16: 0.004


@pytest.fixture
def cudnn(monkeypatch):
    """An NVIDIA GPU by name; what cuDNN is asked for is done by jax's own formulation."""
    device = types.SimpleNamespace(compute_capability="9.0")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    theirs, asked = jax.nn.dot_product_attention, []

    def attention(query, key, value, *, scale, implementation):
        assert implementation == "cudnn"
        assert query.ndim == 4 and query.shape[2] == 1
        asked.append(query.shape[3])
        return theirs(query, key, value, scale=scale, implementation="xla")

    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    return types.SimpleNamespace(device=device, asked=asked)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize(("channels", "width"), [((3, 5), 8), ((8, 32), 32), ((17, 16), 24)])
def test_flash_equals_full_and_gives_cudnn_widths_that_it_does(
    monkeypatch, cudnn, pooled, channels, width
):
    monkeypatch.setattr(attend, "_FLASH_DTYPES", (jnp.float32,))  # where equality is to be seen
    maps = _maps(8, pooled, channels)
    _close(_with_gradient("flash", 0, maps), _with_gradient("full", 0, maps), atol=1e-4)
    assert set(cudnn.asked) == {width}


def test_flash_has_the_second_gradient_that_penalties_need(monkeypatch, cudnn):
    monkeypatch.setattr(attend, "_FLASH_DTYPES", (jnp.float32,))
    _close(_penalty("flash"), _penalty("full"), atol=2e-3)
    assert cudnn.asked


def test_flash_where_it_cannot_be(monkeypatch, cudnn):
    def used(*, dtype=jnp.bfloat16, channels=(8, 32)):
        cudnn.asked.clear()
        maps = [x.astype(dtype) for x in _maps(8, True, channels)]
        found = attend.gather("flash", 0, *maps)
        asked = bool(cudnn.asked)
        full = attend.gather("full", 0, *maps)
        np.testing.assert_allclose(found.astype(float), full.astype(float), atol=0.05)
        return asked

    assert used()
    assert not used(dtype=jnp.float32)
    assert not used(channels=(8, 136))
    for capability in ("7.5", "gfx942"):
        cudnn.device.compute_capability = capability
        assert not used()
    cudnn.device.compute_capability = "12.0"
    assert used()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert not used()


@pytest.fixture
def cudnn_by_name(monkeypatch):
    """jax takes cuDNN for present, so that calls of it can be traced and lowered."""
    calls = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(calls, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(calls, "check_compute_capability", lambda _: True)
    monkeypatch.setattr(calls, "is_cuda_compute_capability_equal", lambda _: False)
    monkeypatch.setattr(attend, "has_flash", lambda *_: True)


def test_flash_calls_cudnn_and_its_arithmetic_is_counted(cudnn_by_name):
    maps = [x.astype(jnp.bfloat16) for x in _maps(8, True, (8, 32))]

    def loss(*maps):
        return (attend.gather("flash", 0, *maps).astype(jnp.float32) ** 2).sum()

    gradient = jax.jit(jax.grad(loss, (0, 1, 2))).trace(*maps)
    text = gradient.lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("@__cudnn$fmhaSoftmaxBackward") == 1
    product = 2 * len(maps[0]) * 64 * 16 * 32
    assert flops.matmuls(jax.make_jaxpr(loss)(*maps)) == 2 * product
    assert flops.matmuls(gradient.jaxpr) == 7 * product


def _temporary_bytes(form, block, size, batch=2):
    shapes = [(batch, n, n, c) for n, c in ((size, 8), (size // 2, 8), (size // 2, 32))]
    maps = [jax.ShapeDtypeStruct(s, jnp.float32) for s in shapes]
    both = jax.grad(lambda *m: (attend.gather(form, block, *m) ** 2).sum(), (0, 1, 2))
    memory = jax.jit(both).lower(*maps).compile().memory_analysis()
    return memory.temp_size_in_bytes


def test_memory_grows_with_the_image_not_with_its_square():
    """From 32 to 64 px a map of all pairs grows 16-fold, from 4 to 64 MiB for two images."""
    full, efficient, local_1d, local_2d = (
        [_temporary_bytes(form, 16, size) for size in (32, 64)]
        for form in ("full", "memory_efficient", "local_1d", "local_2d")
    )
    whole_map = 4 * 2 * 4096 * 1024
    assert full[1] > whole_map
    assert efficient[1] < whole_map / 4
    for found in (efficient, local_1d, local_2d):
        assert found[1] < 8 * found[0]


# Which keys a query sees, written as loops over positions.
def _sees(form, block, size, pooled, query, key):
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
def test_local_forms_see_what_they_should(form, block, size, pooled):
    maps = _maps(size, pooled)
    expected, seen = _by_mask(form, block, maps)
    np.testing.assert_allclose(attend.gather(form, block, *maps), expected, atol=1e-5)
    out, weights = attend.gather_with_map(form, block, *maps)
    np.testing.assert_allclose(out, expected, atol=1e-5)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    np.testing.assert_array_equal(np.asarray(weights) > 0, np.broadcast_to(seen, weights.shape))


@pytest.mark.parametrize("form", ["local_1d", "local_2d"])
@pytest.mark.parametrize("pooled", [True, False])
def test_a_block_that_covers_everything_is_full_attention(form, pooled):
    maps = _maps(8, pooled)
    expected = _with_gradient("full", 0, maps)
    for block in (8, 16, 30):
        _close(_with_gradient(form, block, maps), expected)


@pytest.mark.parametrize(
    ("form", "block", "size", "pooled", "text"),
    [
        ("local_2d", 6, 16, True, "multiples of 4"),
        ("local_2d", 3, 16, False, "multiples of 2"),
        ("local_2d", 12, 16, True, "divisors of 16"),
        ("local_1d", 12, 16, True, "its square divides 16 x 16"),
        ("local_1d", 4, 16, True, "whole pairs of rows, 32 positions"),
        ("local_1d", 0, 16, True, "multiples of 4"),
    ],
)
def test_blocks_that_do_not_fit(form, block, size, pooled, text):
    with pytest.raises(ValueError, match=text):
        attend.gather(form, block, *_maps(size, pooled))


def test_unknown_form():
    with pytest.raises(
        ValueError, match="'dense'; allowed: auto, full, memory_efficient, flash, local_1d"
    ):
        attend.gather("dense", 4, *_maps(4))


def test_auto_changes_at_64_px(monkeypatch):
    asked = []
    monkeypatch.setattr(attend, "_memory_efficient", lambda q, *_: asked.append(q.shape[1]) or q)
    for size in (32, 64):
        maps = [jax.ShapeDtypeStruct((1, n, n, 8), "float32") for n in (size, size // 2, size // 2)]
        jax.eval_shape(lambda *m: attend.gather("auto", 0, *m), *maps)
    assert asked == [64]


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_a_layer_has_the_same_parameters_and_maps_in_every_form(variant):
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 16))
    params = SelfAttention(variant).init(jax.random.key(0), x)["params"] | {
        "gamma": jnp.float32(0.7)
    }
    blocks = {"local_1d": 4, "local_2d": 4}
    for form in attend.FORMS:
        layer = SelfAttention(variant, form, blocks.get(form, 0))
        shapes = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
        assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
        y, found = layer.apply({"params": params}, x, mutable=["intermediates"])
        np.testing.assert_allclose(y, layer.apply({"params": params}, x), atol=1e-5)
        (weights,) = found["intermediates"]["attention"]
        assert weights.shape == (2, 64, 16 if variant == "released" else 64)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
        assert bool((weights == 0).any()) is form.startswith("local")
