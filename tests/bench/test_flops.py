"""FLOPs of matrix products and convolutions, with loops counted as often as they run."""

import jax
import jax.numpy as jnp
import pytest
from support.tiny import DENSE

from sagan.bench.setup import Setup
from sagan.config import replace
from sagan.parallel import chips, flops
from sagan.parallel.platform import Platform

CPU = Platform("cpu", "cpu", "")


def test_a_loop_counts_as_often_as_it_runs():
    x, w = jnp.ones((32, 64)), jnp.ones((5, 64, 64))

    def body(x, w):
        return jnp.tanh(x @ w), None

    def scanned(x, w):
        return jax.lax.scan(body, x, w)[0]

    def unrolled(x, w):
        for i in range(5):
            x, _ = body(x, w[i])
        return x

    expected = jax.jit(unrolled).lower(x, w).compile().cost_analysis()["flops"]
    compiled = jax.jit(scanned).lower(x, w).compile()
    assert compiled.cost_analysis()["flops"] < expected / 3  # what XLA says of the loop
    assert flops.of_compiled(compiled, jax.make_jaxpr(scanned)(x, w), CPU) == pytest.approx(
        expected, rel=0.02
    )
    assert flops.matmuls(jax.make_jaxpr(scanned)(x, w)) == 5 * 2 * 32 * 64 * 64


def test_a_dispatch_of_two_steps_counts_twice_one_step():
    """All but the estimates of singular values, which are logged once per dispatch."""
    config = replace(DENSE, train={"d_steps_per_g_step": 2, "batch_size": 64})
    setup = Setup(config)
    state, program = setup.create(), setup.compile(setup.dispatch())
    batch = next(setup.batches)
    two = jax.tree.map(lambda x: jnp.concatenate([x, x]), batch)
    found = []
    for batches in (batch, two):
        arguments = state, setup.pipeline.data, batches
        jaxpr = flops.jaxpr_of(program, *arguments)
        lowered = program.lower(*arguments)  # XLA counts it before compiling too
        found.append((flops.of_compiled(lowered, jaxpr, CPU), flops.matmuls(jaxpr)))
    (one_all, one_products), (two_all, two_products) = found
    assert two_products == pytest.approx(2 * one_products, rel=5e-3)
    assert two_all == pytest.approx(2 * one_all, rel=0.05)


def test_on_a_gpu_the_count_is_at_least_that_of_the_products():
    """XLA does not count what libraries compute."""

    class Compiled:
        def cost_analysis(self):
            return {"flops": 3.0}

    x = jnp.ones((8, 8))
    jaxpr = jax.make_jaxpr(lambda x: x @ x)(x)
    assert flops.of_compiled(Compiled(), jaxpr, Platform("gpu", "NVIDIA H200", "9.0")) == 2 * 8**3
    assert flops.of_compiled(Compiled(), jaxpr, CPU) == 3


def test_a_strided_and_a_dilated_convolution():
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((4, 4, 3, 5))
    numbers = ("NHWC", "HWIO", "NHWC")

    def pooled(x):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=numbers
        )

    def doubled(x):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2), dimension_numbers=numbers
        )

    assert flops.matmuls(jax.make_jaxpr(pooled)(x)) == 2 * 2 * 4 * 4 * 5 * 16 * 3
    (out,) = jax.make_jaxpr(doubled)(x).jaxpr.outvars
    assert out.aval.shape == (2, 16, 16, 5)
    assert flops.matmuls(jax.make_jaxpr(doubled)(x)) == 2 * 2 * 16 * 16 * 5 * 4 * 3


def test_the_share_of_the_peak_of_a_known_and_an_unknown_chip():
    assert chips.share_of_peak(494.7e12, "NVIDIA H200") == 0.5
    assert chips.share_of_peak(1e12, "abacus") is None


def test_messages_that_wait_for_each_other_are_listed_one_after_another():
    def program(x, y):
        first, second = jax.lax.psum(x, "data"), jax.lax.psum(y, "data")  # 4 and 12 bytes
        third = jax.lax.psum(y * first, "data")  # 12 bytes, after the first

        def body(carry, _):
            return jax.lax.psum(carry, "data"), None

        return jax.lax.scan(body, third + second, None, length=2)[0]

    devices = jax.make_mesh((1,), ("data",))
    whole = jax.sharding.PartitionSpec()
    mapped = jax.shard_map(
        program, mesh=devices, in_specs=(whole, whole), out_specs=whole, check_vma=False
    )
    jaxpr = jax.make_jaxpr(mapped)(jnp.float32(1), jnp.ones(3))
    assert flops.messages(jaxpr) == [16, 12, 12, 12]
