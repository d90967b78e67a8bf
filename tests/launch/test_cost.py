"""The cost model against closed forms, hand-worked figures and the networks themselves."""

import json
import math
import re
from pathlib import Path

import pytest

from sagan.config import ConfigError
from sagan.launch import cost

NO_LATENCY = {"base_seconds": 0.0, "inside_seconds": 0.0, "between_seconds": 0.0}


def test_parameters_are_those_of_the_preset():
    import jax

    from sagan.config import presets
    from sagan.tasks.gan import step as train_step

    gan = train_step.build(presets.load("imagenet128", ["model.num_classes=1000"]), 1)
    state = jax.eval_shape(lambda: train_step.init(gan))
    for player, work in (
        (state.g, cost.sagan128_generator()),
        (state.d, cost.sagan128_discriminator()),
    ):
        assert sum(x.size for x in jax.tree.leaves(player.params)) == work.parameters
    norms = jax.tree.leaves(state.g.stats["batch_stats"])
    # A mean and a variance each; the table of channels is what communication counts.
    assert sum(x.size for x in norms) == 2 * sum(cost.sagan128_generator().batch_norms)


def test_flops_of_the_layers_by_hand():
    # Blocks from 1024, 512, ... channels: (9 c d + 9 d d + c d) products a pixel, worked out.
    products = [
        128 * 16384,
        (9 + 9 + 1) * 1024**2 * 8**2,
        (18 + 9 + 2) * 512**2 * 16**2,
        (18 + 9 + 2) * 256**2 * 32**2,
        (18 + 9 + 2) * 128**2 * 64**2,
        (18 + 9 + 2) * 64**2 * 128**2,
        27 * 64 * 128**2,
    ]
    attention = 4096 * (128 * 16 * 2 + 128 * 64 * 2) + 4096 * 1024 * (16 + 64)
    assert cost.sagan128_generator().flops == 2 * (sum(products) + attention)
    without = cost.sagan128_generator(attention=0)
    assert without.flops == 2 * sum(products)
    products = [
        (27 * 64 + 9 * 64**2) * 128**2 + 3 * 64 * 64**2,
        (9 * 2 + 9 * 4 + 2) * 64**2 * 64**2,
        (9 * 2 + 9 * 4 + 2) * 128**2 * 32**2,
        (9 * 2 + 9 * 4 + 2) * 256**2 * 16**2,
        (9 * 2 + 9 * 4 + 2) * 512**2 * 8**2,
        18 * 1024**2 * 4**2,
        2 * 1024,
    ]
    assert cost.sagan128_discriminator(attention=0).flops == 2 * sum(products)


def test_torus_all_reduce_is_the_ring_formula_on_one_closed_axis():
    ring = cost.Torus("ring", (8,), 1.0, 1e9, 0.0)
    assert ring.all_reduce(8e9) == pytest.approx(2 * 7 / 8 * 8e9 / 2e9)
    line = cost.Torus("line", (2,), 1.0, 1e9, 0.0)
    assert line.all_reduce(8e9) == pytest.approx(2 * 1 / 2 * 8e9 / 1e9)
    assert cost.Torus("one", (1, 1), 1.0, 1e9, 1.0).all_reduce(8e9) == 0.0


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
    one = cost.predict(cost.h100(1), work, work, batch_size=100, utilisation=0.5)
    # One D and one G update: 4 forward passes' worth of G and 8 of D.
    assert one.math == pytest.approx(100 * 12e9 / (989.4e12 * 0.5))
    assert (one.communication, one.efficiency) == (0.0, 1.0)
    assert one.images_per_second == pytest.approx(100 / one.math)


def test_more_updates_of_d_cost_what_they_add():
    work, none = cost.Work(0, 1e9), cost.Work(0, 0.0)
    once, thrice = (
        cost.predict(cost.h100(1), none, work, d_steps=k, utilisation=1.0).math for k in (1, 3)
    )
    assert thrice / once == pytest.approx((6 * 3 + 2) / (6 + 2))


def test_communication_is_gradients_and_statistics():
    asked = []

    class Counting(cost.Nodes):
        def all_reduce(self, size):
            asked.append(size)
            return 1.0

    generator, discriminator = cost.Work(100, 1.0, (8, 16)), cost.Work(50, 1.0)
    got = cost.predict(Counting(*cost.h100(8)), generator, discriminator, d_steps=2)
    assert sorted(asked) == [64, 128, 200, 400]
    # Two of D's gradients, one of G's; each norm in 3 forward passes and one backward.
    assert got.communication == 2 + 1 + 4 * 2


def test_efficiency_falls_with_chips_and_rises_with_the_batch():
    works = cost.sagan128_generator(), cost.sagan128_discriminator()
    machines = [cost.h100(n) for n in (8, 16, 32, 64)]
    small = [cost.predict(m, *works).efficiency for m in machines]
    large = [cost.predict(m, *works, batch_size=4096).efficiency for m in machines]
    assert small == sorted(small, reverse=True)
    assert all(a < b < 1 for a, b in zip(small, large, strict=True))


def test_every_slice_has_the_chips_of_its_name():
    for cores in (8, 16, 32, 64, 128):
        assert cost.tpu_v4(cores).devices == cores // 2
    with pytest.raises(ConfigError, match="known: v4-8"):
        cost.tpu_v4(12)
    with pytest.raises(ConfigError, match="12 H100; allowed"):
        cost.h100(12)


def test_the_table_in_the_readme_is_what_the_module_prints(capsys):
    assert cost.main([]) == 0
    printed = capsys.readouterr().out.strip()
    pages = Path(__file__).parents[2] / "docs"
    assert printed in (pages / "launching.md").read_text()
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in printed.splitlines()[2:]]
    assert [row[0] for row in rows] == [
        *("v4-8", "v4-16", "v4-32", "v4-64", "v4-128"),
        *("8 H100", "16 H100", "32 H100", "64 H100"),
    ]


def test_a_benchmark_replaces_the_assumptions(tmp_path, capsys):
    path = tmp_path / "bench.json"
    train = {"flops_per_device": 3.2e12, "seconds_median": 0.4, "seconds_per_step": 0.2}
    bench = {"devices": "4 x NVIDIA H100", "batch_size": 64, "train": train}
    # Two steps of 64 images in a dispatch, on four devices.
    path.write_text(json.dumps(bench | {"train": train | {"share_of_peak": 0.25}}))
    assert cost.read_bench(path) == (1e11, 0.25)
    path.write_text(json.dumps(bench | {"train": train | {"share_of_peak": "unknown: no peak"}}))
    assert cost.read_bench(path) == (1e11, None)
    assert cost.main(["--bench", str(path)]) == 0
    assert capsys.readouterr().out.count("\n") == 11
    path.write_text("{}")
    with pytest.raises(SystemExit) as error:
        cost.main(["--bench", str(path)])
    assert error.value.code == 2
    assert "is no output of `sagan bench --json`" in capsys.readouterr().err


def test_utilisation_is_checked(capsys):
    with pytest.raises(SystemExit):
        cost.main(["--utilisation", "1.5"])
    assert "allowed: (0, 1]" in capsys.readouterr().err
    assert math.isfinite(cost.UTILISATION)
