"""The speed that a training shows while it runs."""

import jax
import jax.numpy as jnp
import pytest

from sagan.parallel import chips
from sagan.parallel.platform import Platform
from sagan.training.speed import Speed, detail

KNOWN = next(iter(chips.CHIPS))


def test_figures_of_an_unknown_chip_have_no_share_of_its_peak():
    speed = Speed(16, Platform("gpu", "a chip of tomorrow", ""))
    found = speed.figures(3.0, 4, None)  # nothing is counted
    assert found == {"time/steps_per_second": 3, "time/images_per_second": 48}
    text = detail(found | {"loss/d": 1.0, "loss/g": -0.5}, ("loss/d", "loss/g"))
    assert "48 images/s" in text and "d 1.000" in text and "g -0.500" in text and "%" not in text


def test_the_share_of_the_peak_is_that_of_the_products_of_a_step():
    w = jnp.ones((10, 10))
    traced = []

    def program(x):
        traced.append(x)
        return x @ w  # 2,000 FLOPs, for 4 steps

    speed = Speed(16, Platform("gpu", KNOWN, ""))
    for rate in (3e9, 6e9):
        found = speed.figures(rate, 4, program, w)
        expected = rate * 500 / chips.CHIPS[KNOWN].peak_flops
        assert found["time/share_of_peak"] == pytest.approx(expected)
    assert len(traced) == 1  # and counted once
    assert "% of peak" in detail(found, ())
    assert jax.devices()[0].device_kind not in chips.CHIPS
