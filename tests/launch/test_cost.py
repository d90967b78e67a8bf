"""The model of step times against closed forms and hand-worked figures."""

import pytest

from sagan.config import ConfigError
from sagan.launch import cost
from sagan.parallel.chips import CHIPS, Chip

CHIP = Chip(peak_flops=1.0, link_bytes=1e9)
NO_LATENCY = {"base_seconds": 0.0, "inside_seconds": 0.0, "between_seconds": 0.0}


def test_torus_all_reduce_is_the_ring_formula_on_one_closed_axis():
    ring = cost.Torus("ring", CHIP, (8,), (True,), 0.0)
    assert ring.all_reduce(8e9) == pytest.approx(2 * 7 / 8 * 8e9 / 2e9)
    line = cost.Torus("line", CHIP, (2,), (False,), 0.0)
    assert line.all_reduce(8e9) == pytest.approx(2 * 1 / 2 * 8e9 / 1e9)
    assert cost.Torus("one", CHIP, (1, 1), (True, True), 1.0).all_reduce(8e9) == 0.0


def test_torus_latency_counts_the_hops_of_all_axes_both_ways():
    assert cost.machine("v4:4x4x4").all_reduce(0.0) == pytest.approx(2 * (2 + 2 + 2) * 1e-6)
    assert cost.machine("v4:2x4x4").all_reduce(0.0) == pytest.approx(2 * (1 + 3 + 3) * 1e-6)


def test_a_pods_all_reduce_bandwidth_is_the_published_one():
    # cloud.google.com/tpu/docs/v4: 1.1 PB/s over 4096 chips.
    pod = cost.machine("v4:16x16x16")._replace(hop_seconds=0.0)
    seconds = pod.all_reduce(1e12)
    assert 4096 * 2 * 1e12 / seconds == pytest.approx(1.1e15, rel=0.02)


def test_nodes_all_reduce_is_two_rings():
    nodes = cost.h100(32)._replace(**NO_LATENCY)
    expected = 2 * 7 / 8 * 1e9 / 450e9 + 2 * 3 / 4 * (1e9 / 8) / 50e9
    assert nodes.all_reduce(1e9) == pytest.approx(expected)
    assert cost.h100(1).all_reduce(1e9) == 0.0


def test_one_device_is_all_arithmetic():
    machine = cost.h100(1)._replace(chip=Chip(989.4e12, utilisation=0.5))
    one = cost.predict(machine, flops=1.2e12, messages=[40.0, 8.0])
    assert one.math == one.seconds == pytest.approx(1.2e12 / (989.4e12 * 0.5))
    assert (one.communication, one.efficiency) == (0.0, 1.0)


def test_communication_is_the_sum_over_the_messages():
    eight = cost.h100(8)
    eight = eight._replace(chip=eight.chip._replace(utilisation=1.0))
    found = cost.predict(eight, flops=8e12, messages=[1e9, 2e9])
    assert found.communication == eight.all_reduce(1e9) + eight.all_reduce(2e9)
    assert found.math == pytest.approx(1e12 / 989.4e12)
    assert found.efficiency == pytest.approx(found.math / (found.math + found.communication))


def test_a_chip_that_was_not_measured_is_as_busy_as_the_one_that_was():
    used = CHIPS["NVIDIA H200"].utilisation
    assert 0.15 < used < 0.25  # 18.6 % of the data sheet's peak
    found = cost.predict(cost.machine("v5e:4x4"), flops=1e15, messages=[])
    assert found.math == pytest.approx(1e15 / 16 / (197e12 * used))


def test_the_axes_of_whole_cubes_and_pods_are_rings():
    def rings(name):
        return cost.machine(name).closed

    assert rings("v4:4x4x8") == (True, True, True)
    assert rings("v5p:2x4x4") == (False, False, False)
    assert rings("v5e:8x16") == (False, True)
    assert rings("v6e:16x16") == (True, True)
    assert rings("v5e:4x4") == (False, False)


@pytest.mark.parametrize(
    "name", ["v4:4x4", "v5e:4x4x4", "v7:2x2", "v5e", "v5e:0x4", "h100:x", "h100:12"]
)
def test_a_machine_of_another_form_is_refused(name):
    with pytest.raises(ConfigError, match=r"12" if name == "h100:12" else name):
        cost.machine(name)


def test_a_number_of_chips_is_the_most_compact_slice():
    for generation in ("v4", "v5e", "v5p", "v6e"):
        for chips in (4, 8, 16, 32, 64, 128, 256, 512):
            name = cost.slice_of(generation, chips)
            if name is None:
                assert chips == 512 and generation in ("v5e", "v6e")
            else:
                assert cost.machine(name).devices == chips
    assert cost.slice_of("v4", 16) == "v4:2x2x4"
    assert cost.slice_of("v5e", 12) is None


def test_every_machine_of_the_table_is_known():
    assert all(cost.machine(name).name == name for name in cost.SHOWN)


def test_a_chip_without_known_links_is_refused():
    with pytest.raises(ConfigError, match="links"):
        cost.Torus("x", Chip(1.0), (2,), (True,), 0.0).all_reduce(1.0)
