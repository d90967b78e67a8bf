"""CIFAR-10 at 32 px without attention: SNGAN, what `cifar10` is measured against.

Run: sagan train cifar10_sngan data.dir=FOLDER
Hardware: as `cifar10`.
Expect: StudioGAN reports FID 9.01 and IS 8.83 for its SNGAN with 100k steps (README of version
    0.4, 50k samples against the 50k of train); not measured here.

Against `cifar10`: no attention in either network; all else the same.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(preset("cifar10"), name="cifar10_sngan", model={"attention": ()})
