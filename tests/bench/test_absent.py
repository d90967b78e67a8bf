"""Compiling for chips that are not here. Needs libtpu, which .ci/run installs for these tests."""

import json
import subprocess
import sys

import pytest

from sagan.bench import absent
from sagan.config import ConfigError, presets
from sagan.launch import cost
from sagan.parallel.chips import CHIPS

SMALL = ["data.name=synthetic", "model.num_classes=4"]


@pytest.fixture
def libtpu():
    return pytest.importorskip("libtpu", reason="libtpu is not installed")


def test_a_step_for_a_tpu_that_is_not_here(libtpu):
    """In a process of its own, as users run it."""
    command = [sys.executable, "-m", "sagan", "bench", "--compile-for", "v5e:2x2", "debug", *SMALL]
    ended = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert found["devices"].startswith("4 x TPU v5")
    assert set(found["collectives"]) == {"all-reduce"}
    assert 0 < found["memory"]["peak_bytes_per_device"] < found["memory"]["chip_bytes"] == 16 << 30
    predicted = found["predicted"]
    assert predicted["arithmetic_seconds"] == pytest.approx(found["flops"] / 197e12)
    assert predicted["memory_seconds"] == pytest.approx(found["bytes_accessed"] / 0.81e12)
    whole = predicted["roofline_seconds"] + predicted["communication_seconds"]
    assert predicted["seconds_per_step"] == pytest.approx(whole)


def test_attention_of_64_px_moves_less_memory_in_the_kernel_of_tpus(libtpu):
    """One layer of `imagenet128` on each chip of a slice, forwards and backwards."""
    import jax
    import jax.numpy as jnp

    from sagan.models.layers import attend

    devices, hardware = absent.devices_of(cost.machine("v5e:2x2"))
    on = jax.sharding.SingleDeviceSharding(devices[0])
    shapes = (64, 16), (32, 16), (32, 64)
    maps = [jax.ShapeDtypeStruct((16, n, n, c), "bfloat16", sharding=on) for n, c in shapes]

    def program(form):
        def loss(*maps):
            out = attend.gather(form, 0, *maps, hardware)
            return (out.astype(jnp.float32) ** 2).sum()

        return absent.compile_afresh(jax.jit(jax.grad(loss, (0, 1, 2))).lower(*maps))

    full, flash, auto = map(program, ("full", "flash", "auto"))
    moved = [p.cost_analysis()["bytes accessed"] for p in (full, flash, auto)]
    assert moved[1] < moved[0] / 2
    assert moved[2] == moved[1]
    temporary = [p.memory_analysis().temp_size_in_bytes for p in (full, flash)]
    assert temporary[1] < temporary[0] / 2


def test_what_no_compiler_knows_is_refused():
    config = presets.load("debug", SMALL)
    with pytest.raises(ConfigError, match="v9"):
        absent.compile_for("v9:2x2", config)
    with pytest.raises(ConfigError, match="flash"):
        absent.compile_for("h100:1", presets.load("debug", [*SMALL, "model.attention_form=flash"]))


@pytest.mark.parametrize(
    "name", ["v4:2x2x1", "v4:4x4x4", "v5e:1x1", "v5e:16x16", "v5p:2x2x4", "v6e:4x4"]
)
def test_a_device_is_a_chip_of_the_machine(libtpu, name):
    target = cost.machine(name)
    devices, hardware = absent.devices_of(target)
    assert len(devices) == target.devices
    assert CHIPS[hardware.device_kind] == target.chip


def test_a_shape_that_libtpu_does_not_know_is_refused(libtpu):
    with pytest.raises(ConfigError, match="3x5"):
        absent.compile_for("v5e:3x5", presets.load("debug", SMALL))
