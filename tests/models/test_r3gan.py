"""R3GAN: parameter counts, and both networks against torch."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import restated

from sagan.config import ConfigError
from sagan.models import r3gan
from sagan.models.layers.grouped_conv import GroupedConv
from sagan.parallel.platform import Platform

LABEL = np.array([0, 2, 1, 2])
SMALL = r3gan.Config(
    image_size=16,
    num_classes=3,
    z_dim=6,
    g_channels=8,
    d_channels=16,
    group_width=4,
    full_width=8,
    attention=(8,),
)
PLAIN = dataclasses.replace(SMALL, num_classes=None, attention=())


@pytest.mark.parametrize(
    ("fields", "g", "d"),
    [
        ({"image_size": 32, "num_classes": 10}, 20.8, 21.3),
        (
            {"image_size": 32, "num_classes": 1000, "g_channels": 1536, "d_channels": 1536}
            | {"group_width": 32},
            82.9,
            86.5,
        ),
    ],
)
def test_parameter_counts_in_millions(fields, g, d):
    found = restated.counts(r3gan, r3gan.Config(**fields))
    assert [round(n / 1e6, 1) for n in found] == [g, d]


def resampled(torch, x, up):
    """upfirdn of StyleGAN2: zeros between pixels, the filter [1, 3, 3, 1], one in two pixels."""
    channels = x.shape[1]
    f = torch.t.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = torch.t.outer(f, f)[None, None].repeat(channels, 1, 1, 1)
    if not up:
        return torch.f.conv2d(x, kernel, stride=2, padding=1, groups=channels)
    b, c, h, w = x.shape
    spread = torch.t.zeros(b, c, 2 * h, 2 * w)
    spread[:, :, ::2, ::2] = x
    spread = torch.f.pad(spread, (2, 1, 2, 1))
    return torch.f.conv2d(spread, 4 * kernel, groups=channels)


def block(torch, x, name):
    groups = 2 * x.shape[1] // SMALL.group_width
    h = torch.conv(x, f"{name}/expand") + torch.p[f"{name}/bias1"][:, None, None]
    h = torch.conv(torch.f.leaky_relu(h, 0.2), f"{name}/mix", groups=groups)
    h = torch.f.leaky_relu(h + torch.p[f"{name}/bias2"][:, None, None], 0.2)
    return x + torch.conv(h, f"{name}/project")


def generator(torch, z, label):
    if label is not None:
        z = torch.t.cat([z, torch.p["classes/table"][label]], 1)
    x = torch.linear(z, "linear")[..., None, None] * torch.p["basis"].permute(2, 0, 1)
    for side in (4, 8, 16):
        if f"resize{side}/kernel" in torch.p:
            x = torch.conv(x, f"resize{side}")
        x = resampled(torch, x, up=True) if side > 4 else x
        for number in (1, 2):
            x = block(torch, x, f"block{side}_{number}")
        if f"attention_{side}/gamma" in torch.p:
            x = torch.attention(x, f"attention_{side}")
    return torch.conv(x, "output")


def discriminator(torch, image, label):
    x = torch.conv(image, "input")
    for side in (16, 8, 4):
        x = resampled(torch, x, up=False) if side < 16 else x
        if f"resize{side}/kernel" in torch.p:
            x = torch.conv(x, f"resize{side}")
        for number in (1, 2):
            x = block(torch, x, f"block{side}_{number}")
        if f"attention_{side}/gamma" in torch.p:
            x = torch.attention(x, f"attention_{side}")
    pool = torch.p["pool"].permute(2, 0, 1)[:, None]
    h = torch.f.conv2d(x, pool, groups=x.shape[1])[..., 0, 0]
    h = torch.linear(h, "linear")
    return h[:, 0] if label is None else (h * torch.p["classes/embedding"][label]).sum(1)


@pytest.mark.parametrize("config", [SMALL, PLAIN], ids=["classes", "plain"])
def test_both_networks_agree_with_torch(config):
    label = None if config.num_classes is None else LABEL
    restated.compare_generator(r3gan, config, generator, label=label, gradient=True)
    restated.compare_discriminator(r3gan, config, discriminator, label=label, gradient=True)


def test_a_new_block_changes_nothing_and_weights_have_the_published_scale():
    config = dataclasses.replace(SMALL, g_channels=64, full_width=32)
    z = jnp.zeros((1, config.z_dim))
    network = r3gan.build(config).generator
    init = jax.jit(
        lambda z: network.init(jax.random.key(0), z, jnp.zeros(1, jnp.int32), train=True)
    )
    params = init(z)["params"]
    block = params["block8_1"]
    assert not np.any(block["project"]["kernel"])
    gain = math.sqrt(2 / 1.04) * 6**-0.25  # six blocks in the network
    for name, fan_in in (("expand", 64), ("mix", 9 * 4)):
        std = float(block[name]["kernel"].std())
        assert std == pytest.approx(gain / math.sqrt(fan_in), rel=0.05)
    assert float(params["basis"].std()) == pytest.approx(1, rel=0.1)


def test_products_and_convolutions_of_groups_are_alike():
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 12))
    layers = [GroupedConv(4, platform=Platform(backend, "", "")) for backend in ("cpu", "gpu")]
    params = layers[0].init(jax.random.key(1), x)
    a, b = (layer.apply(params, x) for layer in layers)
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        ({"image_size": 33}, ("model.image_size=33", "32", "40")),
        ({"g_channels": 7}, ("model.g_channels=7", "model.group_width=4")),
        ({"g_channels": 9, "group_width": 8}, ("model.g_channels=9", "9 channels at 4 px")),
        ({"spectral_norm_d": True}, ("model.spectral_norm_d", "false")),
        ({"attention": (32,)}, ("model.attention", "32", "4, 8, 16")),
    ],
)
def test_what_the_networks_cannot_be_is_refused(fields, facts):
    with pytest.raises(ConfigError) as error:
        r3gan.check(dataclasses.replace(SMALL, **fields))
    assert all(fact in str(error.value) for fact in facts)
