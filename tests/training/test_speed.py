"""The speed that a training shows while it runs."""

import jax
import pytest
from support.tiny import CONFIG

from sagan.parallel import chips, flops
from sagan.training import speed as live


def test_figures_of_a_chip_that_is_known_and_of_one_that_is_not(monkeypatch):
    kind, w = jax.devices()[0].device_kind, jax.numpy.ones((10, 10))
    counted, count = [], flops.matmuls
    monkeypatch.setattr(flops, "matmuls", lambda jaxpr: counted.append(1) or count(jaxpr))

    def program(x):
        return x @ w  # 2,000 FLOPs

    speed = live.Speed(CONFIG, per_dispatch=4)
    assert kind not in chips.CHIPS
    found = speed.figures(3.0, program, w)
    # Batches of 8, two updates of the discriminator a step.
    assert found == {"time/steps_per_second": 3, "time/images_per_second": 48}
    losses = {"loss/d": 1.0, "loss/g": -0.5}
    assert live.detail(found | losses) == "48 images/s  d 1.000  g -0.500" and not counted
    monkeypatch.setitem(chips.CHIPS, kind, chips.Chip(15_000.0))
    for rate, share in ((3.0, 0.1), (6.0, 0.2)):
        found = speed.figures(rate, program, w)
        assert found["time/share_of_peak"] == pytest.approx(share)
    assert len(counted) == 1
    assert live.detail(found | losses) == "96 images/s  20.0% of peak  d 1.000  g -0.500"
