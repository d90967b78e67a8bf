"""The exact forms of attention, compared with full attention."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pallas_tpu
from support.attending import form_of, maps_of, require_close, with_gradient

from sagan.models.layers import attend, chunked_attention, flash_attention
from sagan.models.layers.attention import SelfAttention
from sagan.parallel import flops
from sagan.parallel.platform import Platform

NVIDIA = Platform("gpu", "NVIDIA H100 80GB HBM3", "9.0")
TPU = Platform("tpu", "TPU v5e", "")
MEMORY_EFFICIENT = chunked_attention.memory_efficient
PLAIN = functools.partial(flash_attention.cudnn, implementation="xla")
FLASH = functools.partial(flash_attention.flash, kernel=PLAIN)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("chunk_scores", [1, 100, 16 * 37, 1 << 20])
def test_memory_efficient_equals_full(pooled, chunk_scores):
    """With chunks of one query, chunks that do not divide the map, and a single chunk."""
    chunked = functools.partial(MEMORY_EFFICIENT, chunk_scores=chunk_scores)
    maps = maps_of(8, pooled)
    require_close(with_gradient(chunked, maps), with_gradient(form_of("full"), maps))


def _penalty(attention, maps=None):
    def gradient_norm(*maps):
        out = jax.grad(lambda *m: (attention(*m) ** 2).sum(), (0, 1, 2))(*maps)
        return sum((x**2).sum() for x in out)

    return jax.jit(jax.grad(gradient_norm, (0, 1, 2)))(*(maps or maps_of(4)))


@pytest.mark.parametrize("attention", [MEMORY_EFFICIENT, FLASH])
def test_exact_forms_have_the_second_gradient_that_penalties_need(attention):
    require_close(_penalty(attention), _penalty(form_of("full")), atol=2e-3)


def test_gradients_of_chunks_are_added_in_float32():
    maps = [x.astype(jnp.bfloat16) for x in maps_of(16)]
    # One query in each chunk: 256 terms, all positive.
    chunked = functools.partial(MEMORY_EFFICIENT, chunk_scores=64)

    def by_value(attention, maps):
        return jax.jit(jax.grad(lambda v: attention(*maps[:2], v).sum()))(maps[2])

    found = by_value(chunked, maps)
    exact = by_value(form_of("full"), [x.astype(jnp.float32) for x in maps])
    assert found.dtype == jnp.bfloat16
    assert float(jnp.abs(found / exact - 1).max()) < 0.006  # half a unit of bfloat16: 0.004


def _shapes(function, *maps):
    """Returns the shapes of all arrays that a function computes."""
    found = re.findall(r"\w\d+\[([\d,]+)\]", str(jax.make_jaxpr(function)(*maps)))
    return [tuple(map(int, shape.split(","))) for shape in found]


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize(("channels", "width"), [((3, 5), 8), ((8, 32), 32), ((17, 16), 24)])
def test_flash_equals_full_and_gives_cudnn_widths_that_it_takes(pooled, channels, width):
    maps = maps_of(8, pooled, channels)
    require_close(with_gradient(FLASH, maps), with_gradient(form_of("full"), maps), atol=1e-4)
    with_a_head = {shape for shape in _shapes(FLASH, *maps) if shape[2:3] == (1,)}
    assert {
        (2, 64, 1, width),
        (2, len(maps[1][0].reshape(-1, channels[0])), 1, width),
    } <= with_a_head


CUDNN, PALLAS = flash_attention.cudnn, flash_attention.pallas


@pytest.mark.parametrize(
    ("platform", "dtype", "channels", "size", "expected"),
    [
        (NVIDIA, jnp.bfloat16, 32, 8, CUDNN),
        (NVIDIA, jnp.float16, 128, 8, CUDNN),
        (NVIDIA, jnp.float32, 32, 8, None),
        (NVIDIA, jnp.bfloat16, 136, 8, None),
        (Platform("gpu", "", "12.0"), jnp.bfloat16, 32, 8, CUDNN),
        (Platform("gpu", "", "7.5"), jnp.bfloat16, 32, 8, None),
        (Platform("gpu", "", "gfx942"), jnp.bfloat16, 32, 8, None),
        (TPU, jnp.bfloat16, 32, 32, PALLAS),
        (TPU, jnp.float32, 136, 96, PALLAS),
        (TPU, jnp.bfloat16, 32, 16, None),  # 64 keys
        (TPU, jnp.bfloat16, 32, 40, None),  # 400 keys
        (Platform("cpu", "", ""), jnp.bfloat16, 32, 32, None),
    ],
)
def test_which_hardware_has_a_kernel_for_which_maps(platform, dtype, channels, size, expected):
    shapes = (size, 8), (size // 2, 8), (size // 2, channels)
    maps = [jax.ShapeDtypeStruct((2, n, n, c), dtype) for n, c in shapes]
    assert flash_attention.kernel_for(*maps, platform) is expected
    if not expected and size == 8:  # then it is computed in chunks
        maps = [x.astype(dtype) for x in maps_of(8, True, (8, channels))]
        found = attend.gather("flash", 0, *maps, platform)
        np.testing.assert_array_equal(found, attend.gather("memory_efficient", 0, *maps))


@pytest.mark.parametrize(("size", "pooled", "block"), [(16, False, 512), (32, True, 128)])
def test_the_kernel_of_tpus_equals_full(monkeypatch, size, pooled, block):
    """In Pallas' interpreter. In the second case, blocks are parts of the queries and keys."""
    monkeypatch.setattr(flash_attention, "_BLOCK", block)
    monkeypatch.setattr(flash_attention, "_WHOLE_KEYS", block)
    maps = [x[:1] for x in maps_of(size, pooled, (8, 24))]
    on_tpu = functools.partial(attend.gather, "flash", 0, platform=TPU)
    with pallas_tpu.force_tpu_interpret_mode():
        found = with_gradient(on_tpu, maps)
    require_close(found, with_gradient(form_of("full"), maps), atol=1e-4)


def test_a_penalty_of_the_kernel_of_tpus_has_the_gradient_of_full():
    maps = [x[:1] for x in maps_of(16, False, (8, 8))]
    with pallas_tpu.force_tpu_interpret_mode():
        found = _penalty(functools.partial(attend.gather, "flash", 0, platform=TPU), maps)
    # The gradients are as large as 400.
    require_close(found, _penalty(form_of("full"), maps), atol=2e-2)


def test_the_arithmetic_of_the_kernel_of_tpus_is_counted():
    maps = [jax.ShapeDtypeStruct((2, n, n, 16), "bfloat16") for n in (64, 32, 32)]
    on_tpu = functools.partial(attend.gather, "flash", 0, platform=TPU)
    product = 2 * 2 * 4096 * 1024 * 128  # the 16 channels are padded to 128
    assert flops.matmuls(jax.make_jaxpr(on_tpu)(*maps)) == 2 * product
    gradient = jax.grad(lambda *maps: on_tpu(*maps).astype(jnp.float32).sum(), (0, 1, 2))
    # Backwards one kernel computes the gradients of keys and values, another that of the queries.
    assert flops.matmuls(jax.make_jaxpr(gradient)(*maps)) == (2 + 4 + 3) * product


@pytest.fixture
def cudnn_by_name(monkeypatch):
    """Makes jax believe that cuDNN is there, so that calls of it can be traced and lowered."""
    calls = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo")
    monkeypatch.setattr(calls, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(calls, "check_compute_capability", lambda _: True)
    monkeypatch.setattr(calls, "is_cuda_compute_capability_equal", lambda _: False)


def test_flash_calls_cudnn_and_its_arithmetic_is_counted(cudnn_by_name):
    maps = [x.astype(jnp.bfloat16) for x in maps_of(8, True, (8, 32))]

    def loss(*maps):
        return (attend.gather("flash", 0, *maps, NVIDIA).astype(jnp.float32) ** 2).sum()

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


def test_an_unknown_form_is_refused():
    with pytest.raises(ValueError, match="dense") as error:
        attend.gather("dense", 4, *maps_of(4))
    assert all(form in str(error.value) for form in attend.FORMS)


@pytest.mark.parametrize(
    ("platform", "efficient"),
    [(Platform("cpu", "", ""), "memory_efficient"), (NVIDIA, "memory_efficient"), (TPU, "flash")],
)
def test_auto_keeps_the_map_of_weights_below_64_px_only(platform, efficient):
    def program(form, size):
        maps = [
            jax.ShapeDtypeStruct((1, n, n, 8), "bfloat16") for n in (size, size // 2, size // 2)
        ]
        return str(jax.make_jaxpr(functools.partial(form_of(form), platform=platform))(*maps))

    assert program("auto", 32) == program("full", 32) != program(efficient, 32)
    assert program("auto", 64) == program(efficient, 64) != program("full", 64)


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
        draw = functools.partial(layer.apply, {"params": params})
        y, found = jax.jit(functools.partial(draw, mutable=["intermediates"]))(x)
        np.testing.assert_allclose(y, jax.jit(draw)(x), atol=1e-5)
        (weights,) = found["intermediates"]["attention"]
        assert weights.shape == (2, 64, 16 if variant == "released" else 64)
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
        assert bool((weights == 0).any()) is form.startswith("local")
