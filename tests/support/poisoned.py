"""A data set with one white image, and two small networks that sometimes return NaN."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sagan.data.pipeline import order
from sagan.models import GanConfig, Networks

NUM, WHITE, BATCH = 40, 17, 8


class Noise:
    """Images of noise, except that image WHITE is all white."""

    class_names, key = ("all",), "poisoned-1"

    def __init__(self, size):
        self._images = np.random.default_rng(0).integers(0, 256, (NUM, size, size, 3), np.uint8)
        self._images[WHITE] = 255

    def __len__(self):
        return NUM

    def __getitem__(self, index):
        return {"image": self._images[index], "label": 0}


class Generator(nn.Module):
    """Returns NaN for extreme latents in training, if `ill` (`g_channels=1`)."""

    size: int
    ill: bool

    @nn.compact
    def __call__(self, z, label, *, train):
        image = nn.tanh(nn.Dense(self.size**2 * 3)(z)).reshape(-1, self.size, self.size, 3)
        far = (z[:, 0] > 2.3)[:, None, None, None]
        return image * jnp.where(far, jnp.nan, 1.0) if self.ill and train else image


class Discriminator(nn.Module):
    """Returns NaN for images that are all white."""

    @nn.compact
    def __call__(self, image, label, *, train):
        logits = nn.Dense(1)(nn.relu(nn.Dense(16)(image.reshape(len(image), -1))))[:, 0]
        return logits * jnp.where(image.min(axis=(1, 2, 3)) >= 1, jnp.nan, 1.0)


def load(config, image_size, argument):
    return Noise(image_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(GanConfig):
    """`g_channels=1` makes the generator return NaN now and then."""

    g_channels: int = 64


def check(config):
    """Accepts any config."""


def build(config, axis_name=None, axis_index_groups=None, platform=None):
    return Networks(Generator(config.image_size, config.g_channels == 1), Discriminator())


def bad_steps(steps, updates=1, seed=0):
    """Lists the steps, from 1, with the white image in one of their batches."""
    images = order(seed, NUM, 0, steps * updates * BATCH).reshape(steps, -1)
    return [step for step, batch in enumerate(images, start=1) if WHITE in batch]
