"""BigGAN-deep on ImageNet at 128 px: the paper's networks and learning rates.

Run: sagan train imagenet128_biggan_deep data.dir=FOLDER   (a prepared tfds imagenet2012)
Hardware: 32 accelerators or more. Not run here.
Expect: the paper (arXiv:1809.11096, Table 2) reports IS 124.5 and FID 5.7 at batch 2048; not
    measured here.

Layers: ch 128, z 128, shared class vector of 128, two blocks for each size, attention at 64x64
    (50,244,484 and 34,590,210 parameters).
Recipe: the number of steps and the start of the average are those of StudioGAN's BigGAN.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("imagenet128_biggan"),
        name="imagenet128_biggan_deep",
        model=dict(name="biggan_deep", z_dim=128, g_channels=128, d_channels=128),
        optim=dict(epsilon=1e-8),
    )
