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


def _generator(torch, z, label):
    condition = torch.t.cat([torch.p["shared/table"][label], z], 1)
    x = torch.linear(condition, "linear").view(len(z), 4, 4, -1).permute(0, 3, 1, 2)
    for stage, width in enumerate((16, 8, 4, 2), 1):
        for n in (1, 2):
            block = f"block{stage}_{n}"
            h = x
            for k in (1, 2, 3, 4):
                h = torch.t.relu(torch.norm(h, f"{block}/norm{k}", condition))
                h = torch.conv(torch.up(h) if (n, k) == (2, 2) else h, f"{block}/conv{k}")
            x = h + (x if n == 1 else torch.up(x[:, : 4 * width]))
        if stage == 2:
            x = torch.attention(x, "attention_16")
    return torch.t.tanh(torch.conv(torch.t.relu(torch.norm(x, "norm")), "output"))


def _discriminator(relu_skip):
    def restated(torch, x, label):
        x = torch.conv(x, "input")
        for stage in (1, 2, 3, 4):
            for n in (1, 2):
                block = f"block{stage}_{n}"
                h = torch.t.relu(x)
                x = h if relu_skip else x
                for k in (1, 2, 3):
                    h = torch.t.relu(torch.conv(h, f"{block}/conv{k}"))
                if n == 1:
                    h, x = torch.pool(h), torch.pool(x)
                    x = torch.t.cat([x, torch.conv(x, f"{block}/skip")], 1)
                x = x + torch.conv(h, f"{block}/conv4")
            if stage == 2:
                x = torch.attention(x, "attention_16")
        return torch.projected(torch.t.relu(x).sum((2, 3)), label)

    return restated


def test_the_generator_agrees_with_torch():
    restated.compare_generator(biggan_deep, SMALL, _generator, label=LABEL)


@pytest.mark.parametrize("skip", ["input", "relu"])
def test_the_discriminator_agrees_with_torch(skip):
    config = dataclasses.replace(SMALL, d_skip=skip)
    restated.compare_discriminator(biggan_deep, config, _discriminator(skip == "relu"), label=LABEL)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image_size": 48}, "model.image_size=48.*512"),
        ({"d_channels": 6}, "model.d_channels=6.*multiples of 4"),
        ({"attention": (4,)}, "model.attention.* 4 .*8, 16, 32, 64"),
    ],
)
def test_what_the_networks_do_not_have_is_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        biggan_deep.check(dataclasses.replace(SMALL, **changes))
