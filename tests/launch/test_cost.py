"""The model of step times against closed forms and hand-worked figures."""

import pytest

from sagan.config import ConfigError
from sagan.launch import cost
from sagan.parallel.chips import Chip

CHIP = Chip(peak_flops=1.0, link_bytes=1e9)
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
    one = cost.predict(cost.h100(1), flops=1.2e12, messages=[40.0, 8.0], utilisation=0.5)
    assert one.math == pytest.approx(1.2e12 / (989.4e12 * 0.5))
    assert (one.communication, one.efficiency) == (0.0, 1.0)


def test_communication_is_the_sum_over_the_messages():
    eight = cost.h100(8)
    found = cost.predict(eight, flops=8e12, messages=[1e9, 2e9], utilisation=1.0)
    assert found.communication == eight.all_reduce(1e9) + eight.all_reduce(2e9)
    assert found.math == pytest.approx(1e12 / 989.4e12)
    assert found.efficiency == pytest.approx(found.math / (found.math + found.communication))


def test_every_slice_has_the_chips_of_its_name():
    for cores in (8, 16, 32, 64, 128):
        assert cost.tpu_v4(cores).devices == cores // 2
    with pytest.raises(ConfigError, match="v4-12.*v4-8"):
        cost.tpu_v4(12)
    with pytest.raises(ConfigError, match="12 H100"):
        cost.h100(12)


def test_a_chip_without_known_links_is_refused():
    with pytest.raises(ConfigError, match="links"):
        cost.Torus("x", Chip(1.0), (2,), 0.0).all_reduce(1.0)
