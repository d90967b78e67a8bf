"""DCGAN: the parameter counts of PyTorch's example, and both networks against torch."""

import dataclasses

import numpy as np
import pytest
from support import restated

from sagan.config import ConfigError
from sagan.models import dcgan

LABEL = np.array([0, 2, 1, 2])
SMALL = dcgan.Config(
    image_size=16, num_classes=3, z_dim=6, g_channels=8, d_channels=8, attention=(8,)
)
PLAIN = dataclasses.replace(SMALL, num_classes=None, attention=(), d_batch_norm=False)


def test_parameter_counts_are_those_of_the_example_of_pytorch():
    g, d = restated.counts(dcgan, dcgan.Config(image_size=64, num_classes=None))
    assert (g, d) == (3_576_704, 2_765_568 + 1)  # the head has a bias


def grown(torch, x, name):
    kernel = torch.p[f"{name}/kernel"].flip(0, 1).permute(2, 3, 0, 1)
    return torch.f.conv_transpose2d(x, kernel, stride=2, padding=1)


def generator(torch, z, label):
    x = torch.linear(z, "linear").view(len(z), 4, 4, -1).permute(0, 3, 1, 2)
    x = torch.t.relu(torch.norm(x, "norm0", label))
    x = torch.t.relu(torch.norm(grown(torch, x, "conv1"), "norm1", label))
    if label is not None:
        x = torch.attention(x, "attention_8")
    return torch.t.tanh(grown(torch, x, "output"))


def discriminator(torch, image, label):
    x = torch.f.leaky_relu(torch.conv(image, "conv0", stride=2, padding=1), 0.2)
    if label is not None:
        x = torch.attention(x, "attention_8")
    x = torch.conv(x, "conv1", stride=2, padding=1)
    x = torch.norm(x, "norm1") if "norm1/scale" in torch.p else x
    h = torch.f.leaky_relu(x, 0.2).permute(0, 2, 3, 1).flatten(1)
    return torch.projected(h, label)


@pytest.mark.parametrize("config", [SMALL, PLAIN], ids=["classes", "plain"])
def test_both_networks_agree_with_torch(config):
    label = None if config.num_classes is None else LABEL
    restated.compare_generator(dcgan, config, generator, label=label, gradient=True)
    restated.compare_discriminator(dcgan, config, discriminator, label=label, gradient=True)


def test_what_the_networks_cannot_be_is_refused():
    for fields, fact in (({"image_size": 33}, "model.image_size=33"), ({"attention": (16,)}, "16")):
        with pytest.raises(ConfigError) as error:
            dcgan.check(dataclasses.replace(SMALL, **fields))
        assert fact in str(error.value)
