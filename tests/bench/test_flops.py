"""FLOPs: what is in a loop counts as often as it runs."""

import jax
import jax.numpy as jnp
import pytest
from sagan.bench.game import Game
from support.tiny import CONFIG

from sagan.bench import flops
from sagan.config import replace
from sagan.models.layers import conv, spectral


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
    assert flops.of_compiled(compiled, jax.make_jaxpr(scanned)(x, w)) == pytest.approx(
        expected, rel=0.02
    )
    assert flops.matmuls(jax.make_jaxpr(scanned)(x, w)) == 5 * 2 * 32 * 64 * 64


def test_the_training_step_as_on_accelerators_counts_like_the_unrolled_one(monkeypatch):
    """Two steps a dispatch, two updates of D a step: both loops on accelerators."""
    monkeypatch.setattr(conv, "_on_cpu", lambda: False)
    monkeypatch.setattr(spectral, "_FILLED_UP_TO", 0)  # the zeros would be arithmetic too
    config = replace(CONFIG, train={"d_steps_per_g_step": 2, "batch_size": 4})

    def counted(looped):
        monkeypatch.setattr(jax, "default_backend", lambda: "tpu" if looped else "cpu")
        game = Game(config)
        program, state = game.compile(), game.create()
        batch = jax.tree.map(lambda x: jnp.concatenate([x, x]), next(game.batches))
        arguments = (state, game.pipeline.data, batch)
        lowered = program.lower(*arguments)  # XLA counts it before compiling too
        return lowered.cost_analysis()["flops"], lowered, jax.make_jaxpr(program)(*arguments)

    expected, _, unrolled = counted(looped=False)
    raw, lowered, scanned = counted(looped=True)
    assert raw < expected / 2
    assert flops.of_compiled(lowered, scanned) == pytest.approx(expected, rel=0.05)
    assert flops.matmuls(scanned) == pytest.approx(flops.matmuls(unrolled), rel=1e-3)
    # Nearly all of the arithmetic is in matrix products and convolutions.
    assert 0.6 < flops.matmuls(unrolled) / expected < 1.2


def test_what_a_library_does_is_counted_though_xla_does_not(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")

    class Compiled:
        def cost_analysis(self):
            return {"flops": 3.0}

    x = jnp.ones((8, 8))
    assert flops.of_compiled(Compiled(), jax.make_jaxpr(lambda x: x @ x)(x)) == 2 * 8**3


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


def test_peaks():
    assert flops.share_of_peak(494.5e12, "NVIDIA H200") == 0.5
    assert flops.share_of_peak(1e12, "abacus") == "unknown: no peak known for abacus"
