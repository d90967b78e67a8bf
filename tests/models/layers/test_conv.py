"""The convolution layers against sums over taps in numpy, finite differences and torch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.models.layers.conv import Conv, ConvPool, UpConv, average_pool, upsample
from sagan.models.layers.cpu_convolution import Products
from sagan.parallel.platform import Platform

LAYERS = {"conv": functools.partial(Conv, size=3), "up": UpConv, "pool": ConvPool}
# (image, features): many and few channels on either side, other than square, the smallest.
SHAPES = {
    "wide": ((2, 6, 4, 9), 11),
    "few_in": ((2, 4, 6, 3), 10),
    "few_out": ((2, 4, 4, 13), 3),
    "one_block": ((1, 2, 2, 9), 9),
}


PLATFORMS = [Platform("cpu", "", ""), Platform("gpu", "", "")]
everywhere = pytest.mark.parametrize("platform", PLATFORMS, ids=["cpu", "accelerator"])


def by_taps(kind, x, kernel):
    """Computes a layer from its definition, in float64."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    if kind == "up":
        x = x.repeat(2, axis=1).repeat(2, axis=2)
    b, h, w, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    y = np.zeros((b, h, w, kernel.shape[-1]))
    for i in range(3):
        for j in range(3):
            y += padded[:, i : i + h, j : j + w] @ kernel[i, j]
    if kind == "pool":
        y = (y[:, ::2, ::2] + y[:, 1::2, ::2] + y[:, ::2, 1::2] + y[:, 1::2, 1::2]) / 4
    return y


def setting(shape, features, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    kernel = rng.standard_normal((3, 3, shape[-1], features)).astype(np.float32)
    return x, kernel / (3 * shape[-1] ** 0.5)


def run(kind, x, kernel, **arguments):
    layer = LAYERS[kind](kernel.shape[-1], use_bias=False, **arguments)
    return jax.jit(layer.apply)({"params": {"kernel": kernel}}, jnp.asarray(x))


@everywhere
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", LAYERS)
def test_equals_the_sum_over_taps(kind, shape, platform):
    x, kernel = setting(*SHAPES[shape])
    np.testing.assert_allclose(
        run(kind, x, kernel, platform=platform), by_taps(kind, x, kernel), atol=5e-6
    )


@everywhere
@pytest.mark.parametrize("kind", ["conv", "up"])
def test_odd_images(kind, platform):
    x, kernel = setting((2, 5, 3, 9), 10)
    np.testing.assert_allclose(
        run(kind, x, kernel, platform=platform), by_taps(kind, x, kernel), atol=5e-6
    )


@everywhere
@pytest.mark.parametrize("shape", ["wide", "few_in", "few_out"])
@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_are_the_adjoints(kind, shape, platform):
    """The layer is bilinear, so <grad, direction> is the layer at that direction, exactly."""
    x, kernel = setting(*SHAPES[shape])
    dx, dkernel = setting(*SHAPES[shape], seed=1)
    y = by_taps(kind, dx, kernel)
    weights = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)

    def weighted(x, kernel):
        return (weights * run(kind, x, kernel, platform=platform)).sum()

    grad_x, grad_kernel = jax.jit(jax.grad(weighted, argnums=(0, 1)))(x, kernel)
    along_x = (weights * y).sum()
    along_kernel = (weights * by_taps(kind, x, dkernel)).sum()
    np.testing.assert_allclose(np.vdot(grad_x, dx), along_x, atol=1e-4)
    np.testing.assert_allclose(np.vdot(grad_kernel, dkernel), along_kernel, atol=1e-4)


@everywhere
@pytest.mark.parametrize("shape", ["wide", "few_in"])
def test_gradient_of_gradient_norms_matches_torch(shape, platform):
    """Squared gradients of input and kernels through all three layers, differentiated by each."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    (b, h, w, c), features = SHAPES[shape]
    x, first = setting((b, h, w, c), features)
    _, second = setting((b, h, w, features), c)
    _, third = setting((b, h, w, c), features)

    def score(x, first, second, third):
        y = jnp.tanh(run("pool", x, first, platform=platform))
        y = jnp.tanh(run("up", y, second, platform=platform))
        return (jnp.tanh(run("conv", y, third, platform=platform)) ** 2).sum()

    def penalty(*arrays):
        return sum((g**2).sum() for g in jax.grad(score, argnums=(0, 1, 2, 3))(*arrays))

    arrays = (x, first, second, third)
    ours = jax.jit(jax.grad(penalty, argnums=(0, 1, 2, 3)))(*arrays)

    leaves = [torch.tensor(array, dtype=torch.float64, requires_grad=True) for array in arrays]
    y, *kernels = leaves[0].permute(0, 3, 1, 2), *(k.permute(3, 2, 0, 1) for k in leaves[1:])
    y = torch.tanh(F.avg_pool2d(F.conv2d(y, kernels[0], padding=1), 2))
    y = F.interpolate(y, scale_factor=2, mode="nearest")
    y = torch.tanh(F.conv2d(y, kernels[1], padding=1))
    total = (torch.tanh(F.conv2d(y, kernels[2], padding=1)) ** 2).sum()
    gradients = torch.autograd.grad(total, leaves, create_graph=True)
    theirs = torch.autograd.grad(sum((g**2).sum() for g in gradients), leaves)
    for mine, peer in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, peer.numpy(), atol=2e-5 * float(peer.abs().max()))


def products(rounds_factors, kind, x, kernel):
    names = {"conv": "convolve", "up": "upsample_convolve", "pool": "convolve_pool"}
    function = getattr(Products.of(rounds_factors), names[kind])
    return jax.jit(function)(jnp.asarray(x, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16))


def layer(kind, x, kernel):
    return run(kind, x, kernel, dtype=jnp.bfloat16, platform=PLATFORMS[1])


# The largest error, relative to the largest value. All forms round the output to bfloat16, and two
# of them also round the transformed kernels or images.
IN_BFLOAT16 = {
    "products": (functools.partial(products, True), 2**-7),
    "products_in_float32": (functools.partial(products, False), 2**-8),
    "accelerator": (layer, 2**-7),
}


@pytest.mark.parametrize("form", IN_BFLOAT16)
@pytest.mark.parametrize("kind", LAYERS)
def test_bfloat16_is_summed_in_float32(kind, form):
    x, kernel = setting((2, 6, 4, 64), 10)
    function, tolerance = IN_BFLOAT16[form]
    y = function(kind, x, kernel)
    assert y.dtype == jnp.bfloat16
    exact = by_taps(kind, *(np.asarray(jnp.asarray(a, jnp.bfloat16), float) for a in (x, kernel)))
    error = np.abs(np.asarray(y, float) - exact).max()
    assert error <= tolerance * np.abs(exact).max()


@pytest.mark.parametrize("form", IN_BFLOAT16)
@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_in_bfloat16(kind, form):
    x, kernel = setting((5, 6, 4, 64), 10)
    weights = np.random.default_rng(2).standard_normal(run(kind, x, kernel).shape)

    def gradient(function):
        def weighted(x, kernel):
            return (weights.astype(np.float32) * function(kind, x, kernel)).sum()

        return jax.jit(jax.grad(weighted, argnums=(0, 1)))(x, kernel)

    for found, exact in zip(gradient(IN_BFLOAT16[form][0]), gradient(run), strict=True):
        assert found.dtype == jnp.float32
        assert jnp.linalg.norm(found - exact) < 2**-7 * jnp.linalg.norm(exact)


@everywhere
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_gradient_inside_a_scan_and_under_vmap(platform, dtype):
    x, kernel = setting((3, 4, 4, 9), 9)

    def loss(x, kernel=kernel):
        return (
            run("pool", x, kernel, dtype=dtype, platform=platform).astype(jnp.float32) ** 2
        ).sum()

    def one(x):
        by_image, by_kernel = jax.grad(loss, argnums=(0, 1))(x[None], kernel)
        return by_image[0] + by_kernel[0, :, :, :1].sum()

    whole = jnp.stack([jax.jit(one)(image) for image in x])
    scanned = jax.jit(lambda x: jax.lax.scan(lambda _, x: (None, one(x)), None, x)[1])(x)
    mapped = jax.jit(jax.vmap(one))(x)
    tolerance = 1e-5 if dtype == jnp.float32 else 0.05 * float(jnp.abs(whole).max())
    np.testing.assert_allclose(scanned, whole, atol=tolerance)
    np.testing.assert_allclose(mapped, whole, atol=tolerance)


def test_one_by_one_is_a_matrix_product():
    x, kernel = setting((2, 3, 5, 7), 4)
    params = {"kernel": jnp.asarray(kernel[:1, :1])}
    y = Conv(4, 1, use_bias=False).apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(y, x @ kernel[0, 0], atol=1e-6)


@pytest.mark.parametrize("kind", LAYERS)
def test_parameters(kind):
    layer = LAYERS[kind](5, dtype=jnp.bfloat16)
    params = jax.jit(layer.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))["params"]
    assert {name: (p.shape, p.dtype) for name, p in params.items()} == {
        "kernel": ((3, 3, 3, 5), jnp.float32),
        "bias": ((5,), jnp.float32),
    }
    assert not params["bias"].any()
    params["bias"] = jnp.arange(5.0)
    shifted = jax.jit(layer.apply)({"params": params}, jnp.zeros((1, 4, 4, 3)))
    assert (shifted == jnp.arange(5.0).astype(jnp.bfloat16).reshape(1, 1, 1, 5)).all()


def test_upsample_and_average_pool():
    x = jnp.arange(6.0).reshape(1, 2, 3, 1)
    doubled = upsample(x)
    assert doubled[0, :, :, 0].tolist() == [[0, 0, 1, 1, 2, 2]] * 2 + [[3, 3, 4, 4, 5, 5]] * 2
    assert (average_pool(doubled) == x).all()
    assert average_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).item() == 1.5


def test_odd_images_to_pool_and_other_kernel_sizes_are_refused():
    odd = jnp.zeros((1, 3, 4, 2))
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 2\)"):
        average_pool(odd)
    with pytest.raises(ValueError, match=r"\(1, 3, 4, 2\)"):
        ConvPool(2).init(jax.random.key(0), odd)
    with pytest.raises(ValueError, match="1 or 3.*5"):
        Conv(2, 5).init(jax.random.key(0), odd)
