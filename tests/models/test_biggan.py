"""BigGAN: published parameter counts, and both networks against torch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import restated

from sagan.config import ConfigError
from sagan.models import biggan

LABEL = np.array([0, 2, 1, 2])
SMALL = biggan.Config(
    image_size=32,
    num_classes=3,
    g_channels=4,
    d_channels=4,
    z_dim=8,
    shared_dim=5,
    attention=(16,),
    output_norm_epsilon=1e-4,
    init="xavier",
)
CIFAR = {"image_size": 32, "num_classes": 10}
TABLES = {"hierarchical": False, "shared_dim": 0, "z_dim": 128}
STUDIOGAN = {"widths": "studiogan"}


@pytest.mark.parametrize(
    ("fields", "g", "d"),
    [
        # BigGAN-PyTorch
        ({"image_size": 128, "attention": (64,)}, 70_433_988, 87_982_370),
        (
            {"image_size": 128, "attention": (64,), "g_channels": 64, "d_channels": 64},
            31_978_628,
            39_448_258,
        ),
        ({"image_size": 32}, 9_466_115, 9_836_929),
        ({"image_size": 64, "attention": (32,)}, 70_377_348, 45_511_970),
        ({"image_size": 256, "z_dim": 140, "attention": (128,)}, 82_097_604, 99_191_330),
        ({"image_size": 256, "z_dim": 140, "attention": (64,)}, 82_235_844, 99_225_890),
        (CIFAR | {"g_channels": 64, "d_channels": 64} | TABLES, 4_304_387, 4_207_361),
        # StudioGAN
        (CIFAR | {"z_dim": 80, "attention": (16,)} | STUDIOGAN, 9_416_196, 2_415_170),
        (
            {"image_size": 64, "z_dim": 100, "num_classes": 100, "attention": (32,)}
            | {"g_channels": 80, "d_channels": 80, "widths": "studiogan"},
            17_322_404,
            30_668_722,
        ),
    ],
)
def test_parameter_counts_are_the_published_ones(fields, g, d):
    fields = {"num_classes": 1000, "init": "xavier"} | fields  # orthogonal takes longer to trace
    config = biggan.Config(**fields)
    assert restated.counts(biggan, config) == (g, d)


def _generator(torch, z, label):
    chunks = z.chunk(4, 1)
    shared = torch.p["shared/table"][label]
    x = torch.linear(chunks[0], "linear").view(len(z), 4, 4, -1).permute(0, 3, 1, 2)
    for n in (1, 2, 3):
        condition = torch.t.cat([shared, chunks[n]], 1)
        h = torch.t.relu(torch.norm(x, f"block{n}/norm1", condition))
        h = torch.conv(torch.up(h), f"block{n}/conv1")
        h = torch.t.relu(torch.norm(h, f"block{n}/norm2", condition))
        x = torch.conv(h, f"block{n}/conv2") + torch.conv(torch.up(x), f"block{n}/skip")
        if n == 2:
            x = torch.attention(x, "attention_16")
    x = torch.t.relu(torch.norm(x, "norm", eps=1e-4))
    return torch.t.tanh(torch.conv(x, "output"))


def _discriminator(relu_skip):
    def restated(torch, x, label):
        for n in (1, 2, 3, 4):
            h = x if n == 1 else torch.t.relu(x)
            skip = h if relu_skip else x
            h = torch.conv(torch.t.relu(torch.conv(h, f"block{n}/conv1")), f"block{n}/conv2")
            if n < 3:
                h, skip = torch.pool(h), torch.conv(torch.pool(skip), f"block{n}/skip")
            x = h + skip
            if n == 1:
                x = torch.attention(x, "attention_16")
        return torch.projected(torch.t.relu(x).sum((2, 3)), label)

    return restated


def test_the_generator_and_its_gradient_agree_with_torch():
    restated.compare_generator(biggan, SMALL, _generator, label=LABEL, gradient=True)


@pytest.mark.parametrize("skip", ["input", "relu"])
def test_the_discriminator_agrees_with_torch(skip):
    config = dataclasses.replace(SMALL, d_skip=skip)
    restated.compare_discriminator(
        biggan, config, _discriminator(skip == "relu"), label=LABEL, gradient=skip == "input"
    )


def test_a_chunk_of_the_latents_conditions_one_block_alone():
    config = dataclasses.replace(SMALL, num_classes=None)
    variables = restated.random(restated.shapes(biggan, config)[0], 0)
    network = biggan.build(config).generator
    z = jnp.asarray(np.random.default_rng(1).normal(size=(1, 8)), jnp.float32)

    @jax.jit
    def block1(z):
        _, found = network.apply(
            variables, z, None, train=False, capture_intermediates=True, mutable="intermediates"
        )
        return found["intermediates"]["block1"]["__call__"][0]

    changes = [np.abs(block1(z.at[0, i].add(1)) - block1(z)).max() > 1e-4 for i in (0, 2, 4, 6)]
    assert changes == [True, True, False, False]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image_size": 36}, "model.image_size=36.*512"),
        ({"z_dim": 9}, "model.z_dim=9.*multiples of 4"),
        ({"shared_dim": 0}, "model.hierarchical.*shared_dim=0"),
        ({"attention": (5,)}, "model.attention.* 5 .*8, 16, 32"),
    ],
)
def test_what_the_networks_do_not_have_is_refused(changes, text):
    with pytest.raises(ConfigError, match=text):
        biggan.check(dataclasses.replace(SMALL, **changes))


def test_the_shared_table_is_not_spectrally_normalised():
    params = restated.shapes(biggan, SMALL)[0]["params"]
    assert jax.tree.map(jnp.shape, params["shared"]) == {"table": (3, 5)}
