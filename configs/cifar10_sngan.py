"""CIFAR-10 at 32 px without attention: SNGAN, what `cifar10` is measured against.

Run: sagan train cifar10_sngan data.dir=FOLDER
Hardware: as `cifar10`.
Expect: not measured here.

Against `cifar10`: no attention in either network; all else the same.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(preset("cifar10"), name="cifar10_sngan", model={"attention": ()})
