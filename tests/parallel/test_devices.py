"""What divides over devices, and mapping a function over rows."""

import jax
import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.parallel import platform
from sagan.parallel.devices import Devices, check_split


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"batch_size": 12}, ["train.batch_size=12", "4"]),
        ({"accumulate_steps": 3}, ["train.accumulate_steps=3", "train.batch_size=16"]),
        ({"batch_norm_group": 3}, ["model.batch_norm_group=3", "4"]),
        ({"batch_norm_group": 0}, ["model.batch_norm_group=0"]),
    ],
)
def test_what_does_not_divide_over_the_devices_is_refused(changes, facts):
    good = {"batch_size": 16, "accumulate_steps": 2, "batch_norm_group": 2}
    check_split(4, **good)
    with pytest.raises(ConfigError) as error:
        check_split(4, **(good | changes))
    assert [fact for fact in facts if fact not in str(error.value)] == []


def test_rows_are_mapped_with_whole_arguments():
    devices = Devices(devices=jax.devices()[:2])
    sizes = []

    def scale(factor, rows):
        sizes.append(len(rows))
        return factor * rows

    rows = np.arange(6.0).reshape(6, 1)
    factor = devices.replicate(np.float64(3).astype(np.float32))
    found = devices.compile_rows(scale, 1)(factor, devices.shard(rows.astype(np.float32), 0))
    np.testing.assert_array_equal(found, 3 * rows)
    assert sizes == [3]


def test_the_platform_here():
    found = platform.current()
    assert found.backend == jax.default_backend()
    assert found.device_kind == jax.local_devices()[0].device_kind
