"""The model of step times against closed forms and hand-worked figures."""

import pytest

from sagan.config import ConfigError
from sagan.launch import cost
from sagan.parallel.chips import Chip

CHIP = Chip(peak_flops=1.0, link_bytes=1e9)
# About the 128 px presets.
NETWORKS = cost.Work(42_000_000, 18e9, (1024, 512, 256, 128, 64)), cost.Work(39_000_000, 9.6e9)
NO_LATENCY = {"base_seconds": 0.0, "inside_seconds": 0.0, "between_seconds": 0.0}


def test_torus_all_reduce_is_the_ring_formula_on_one_closed_axis():
    ring = cost.Torus("ring", CHIP, (8,), 0.0)
    assert ring.all_reduce(8e9) == pytest.approx(2 * 7 / 8 * 8e9 / 2e9)
    line = cost.Torus("line", CHIP, (2,), 0.0)
    assert line.all_reduce(8e9) == pytest.approx(2 * 1 / 2 * 8e9 / 1e9)
    assert cost.Torus("one", CHIP, (1, 1), 1.0).all_reduce(8e9) == 0.0


def test_torus_latency_counts_the_hops_of_all_axes_both_ways():
    assert cost.tpu_v4(128).all_reduce(0.0) == pytest.approx(2 * (2 + 2 + 2) * 1e-6)
    assert cost.tpu_v4(64).all_reduce(0.0) == pytest.approx(2 * (1 + 3 + 3) * 1e-6)


def test_a_pods_all_reduce_bandwidth_is_the_published_one():
    # cloud.google.com/tpu/docs/v4: 1.1 PB/s over 4096 chips.
    pod = cost.tpu_v4(128)._replace(shape=(16, 16, 16), hop_seconds=0.0)
    seconds = pod.all_reduce(1e12)
    assert 4096 * 2 * 1e12 / seconds == pytest.approx(1.1e15, rel=0.02)


def test_nodes_all_reduce_is_two_rings():
    nodes = cost.h100(32)._replace(**NO_LATENCY)
    expected = 2 * 7 / 8 * 1e9 / 450e9 + 2 * 3 / 4 * (1e9 / 8) / 50e9
    assert nodes.all_reduce(1e9) == pytest.approx(expected)
    assert cost.h100(1).all_reduce(1e9) == 0.0


def test_one_device_is_all_arithmetic():
    work = cost.Work(10, 1e9, (4,))
    one = cost.predict(cost.h100(1), work, work, batch_size=100, d_steps=1, utilisation=0.5)
    # One D and one G update: 4 forward passes' worth of G and 8 of D.
    assert one.math == pytest.approx(100 * 12e9 / (989.4e12 * 0.5))
    assert (one.communication, one.efficiency) == (0.0, 1.0)
    assert one.images_per_second == pytest.approx(100 / one.math)


def test_more_updates_of_d_cost_what_they_add():
    work, none = cost.Work(0, 1e9), cost.Work(0, 0.0)
    once, thrice = (
        cost.predict(cost.h100(1), none, work, batch_size=1, d_steps=k, utilisation=1.0).math
        for k in (1, 3)
    )
    assert thrice / once == pytest.approx((6 * 3 + 2) / (6 + 2))


def test_communication_is_gradients_and_statistics():
    asked = []

    class Counting(cost.Nodes):
        def all_reduce(self, size):
            asked.append(size)
            return 1.0

    generator, discriminator = cost.Work(100, 1.0, (8, 16)), cost.Work(50, 1.0)
    got = cost.predict(
        Counting(*cost.h100(8)), generator, discriminator, batch_size=1, d_steps=2, utilisation=1.0
    )
    assert sorted(asked) == [64, 128, 200, 400]
    # Two of D's gradients, one of G's; each norm in 3 forward passes and one backward.
    assert got.communication == 2 + 1 + 4 * 2


def test_efficiency_falls_with_chips_and_rises_with_the_batch():
    usual = {"d_steps": 1, "utilisation": 0.3}
    machines = [cost.h100(n) for n in (8, 16, 32, 64)]
    small = [cost.predict(m, *NETWORKS, batch_size=256, **usual).efficiency for m in machines]
    large = [cost.predict(m, *NETWORKS, batch_size=4096, **usual).efficiency for m in machines]
    assert small == sorted(small, reverse=True)
    assert all(a < b < 1 for a, b in zip(small, large, strict=True))


def test_every_slice_has_the_chips_of_its_name():
    for cores in (8, 16, 32, 64, 128):
        assert cost.tpu_v4(cores).devices == cores // 2
    with pytest.raises(ConfigError, match="v4-12; .*v4-8"):
        cost.tpu_v4(12)
    with pytest.raises(ConfigError, match="12 H100"):
        cost.h100(12)


def test_a_chip_without_known_links_is_refused():
    with pytest.raises(ConfigError, match="links"):
        cost.Torus("x", Chip(1.0), (2,), 0.0).all_reduce(1.0)
