"""Predictions for pods: sizes counted from the networks' code, and the printed table."""

import json
import re
from pathlib import Path

import pytest

from sagan.bench import pods
from sagan.config import ConfigError, presets
from sagan.launch import cost


def test_sizes_of_the_128_px_networks_are_those_of_the_layers_by_hand():
    generator, discriminator = pods.works(presets.load("imagenet128", ["model.num_classes=1000"]))
    # (inputs, outputs, size of the result) of each block: two 3x3 convolutions at that size. The
    # 1x1 convolution of the skip is before the upsampling, or behind the pooling.
    up = [(1024, 1024, 8), (1024, 512, 16), (512, 256, 32), (256, 128, 64), (128, 64, 128)]
    products = 128 * 16384 + 27 * 64 * 128**2  # from z, and to the image
    products += sum((9 * c * d + 9 * d * d) * s**2 + c * d * (s // 2) ** 2 for c, d, s in up)
    attention = {  # channels: products at 64 px, with 32 x 32 pooled keys
        c: 4096 * (c * c // 8 * 2 + c * c // 2 * 2) + 4096 * 1024 * (c // 8 + c // 2)
        for c in (64, 128)
    }
    assert generator.flops == 2 * (products + attention[128])
    down = [(3, 64, 128), (64, 128, 64), (128, 256, 32), (256, 512, 16), (512, 1024, 8)]
    products = 1024 + 18 * 1024**2 * 4**2  # to the logit, and the last block, without a skip
    products += sum((9 * c * d + 9 * d * d) * s**2 + c * d * (s // 2) ** 2 for c, d, s in down)
    assert discriminator.flops == pytest.approx(2 * (products + attention[64]), rel=1e-6)
    assert generator.batch_norms == (1024, 1024, 1024, 512, 512, 256, 256, 128, 128, 64, 64)
    assert discriminator.batch_norms == ()
    assert (generator.parameters, discriminator.parameters) == (42_017_412, 39_448_258)


def test_a_preset_without_classes_and_attention_has_sizes_too():
    words = ["model.num_classes=none", "model.attention=none"]
    generator, discriminator = pods.works(presets.load("debug", words))
    assert min(*generator[:2], *discriminator[:2]) > 0


class Counting(cost.Nodes):
    """A machine whose all-reduces take a second each."""

    def all_reduce(self, size):
        return 1.0


def test_a_step_is_its_updates_of_both_networks():
    machine = Counting(*cost.h100(8))
    g, d = pods.Work(100, 1e9, (8, 16)), pods.Work(50, 1e9)
    usual = {"batch_size": 100, "utilisation": 0.5}
    once = pods.predicted(machine, (g, d), d_steps=1, **usual)
    # One update of each: 4 forward passes' worth of G and 8 of D.
    assert once.math == pytest.approx(100 * 12e9 / (8 * 989.4e12 * 0.5))
    twice = pods.predicted(machine, (g, d), d_steps=2, **usual)
    # Two of D's gradients, one of G's; each norm in 3 forward passes and one backward.
    assert twice.communication == 2 + 1 + 4 * 2
    none = pods.Work(0, 0.0)
    alone = [pods.predicted(machine, (none, d), d_steps=k, **usual).math for k in (1, 3)]
    assert alone[1] / alone[0] == pytest.approx((6 * 3 + 2) / (6 + 2))


def test_efficiency_falls_with_chips_and_rises_with_the_batch():
    # About the 128 px presets.
    g, d = pods.Work(42_000_000, 18e9, (1024, 512, 256, 128, 64)), pods.Work(39_000_000, 9.6e9)
    small, large = (
        [
            pods.predicted(
                cost.h100(n), (g, d), batch_size=size, d_steps=1, utilisation=0.3
            ).efficiency
            for n in (8, 16, 32, 64)
        ]
        for size in (256, 4096)
    )
    assert small == sorted(small, reverse=True)
    assert all(a < b < 1 for a, b in zip(small, large, strict=True))


def test_the_table_in_the_docs_is_what_the_module_prints(capsys):
    assert pods.main([]) == 0
    printed = capsys.readouterr().out.strip()
    docs = Path(__file__).parents[2] / "docs"
    assert printed in (docs / "launching.md").read_text()
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
    assert pods.read_bench(path) == (1e11, 0.25)
    path.write_text(json.dumps(bench | {"train": train | {"share_of_peak": "unknown: no peak"}}))
    assert pods.read_bench(path) == (1e11, None)
    assert pods.main(["debug", "--bench", str(path)]) == 0
    assert capsys.readouterr().out.count("\n") == 11
    path.write_text("{}")
    with pytest.raises(ConfigError, match=str(path)):
        pods.read_bench(path)


def test_utilisation_is_checked(capsys):
    with pytest.raises(SystemExit) as ended:
        pods.main(["debug", "--utilisation", "1.5"])
    assert ended.value.code == 2
    assert "1.5" in capsys.readouterr().err
