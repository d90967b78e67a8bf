"""BigGAN-deep: published parameter counts, and both networks against torch."""

import dataclasses

import numpy as np
import pytest
from support import restated

from sagan.config import ConfigError
from sagan.models import biggan_deep

LABEL = np.array([0, 2, 1, 2])
SMALL = biggan_deep.Config(
    image_size=64,
    num_classes=3,
    g_channels=4,
    d_channels=4,
    z_dim=6,
    shared_dim=5,
    attention=(16,),
    init="xavier",
)


@pytest.mark.parametrize(
    ("fields", "g", "d"),
    [
        # BigGAN-PyTorch, and the released generators with 3 of their 128 last channels
        ({"image_size": 128, "attention": (64,)}, 50_244_484, 34_590_210),
        ({"image_size": 256, "attention": (64,)}, 55_736_708, 38_247_426),
        ({"image_size": 512, "attention": (64,)}, 56_019_780, None),
        ({"image_size": 32}, 7_561_987, 3_088_129),
        ({"image_size": 64, "attention": (32,)}, 49_829_636, 20_951_554),
    ],
)
def test_parameter_counts_are_the_published_ones(fields, g, d):
    config = biggan_deep.Config(num_classes=1000, init="xavier", **fields)
    found = restated.counts(biggan_deep, config)
    assert found[0] == g
    assert d is None or found[1] == d
