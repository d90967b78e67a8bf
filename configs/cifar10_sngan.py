"""CIFAR-10 at 32 px without attention: SNGAN, what `cifar10` is measured against.

Run: sagan train cifar10_sngan data.dir=FOLDER
Hardware: as `cifar10`.
Expect: not measured here.

Against `cifar10`: no attention in either network; all else the same.
"""

import dataclasses

from sagan.config import Config
from sagan.config.presets import preset


def get_config() -> Config:
    sagan = preset("cifar10")
    model = dataclasses.replace(sagan.model, attention=())
    return dataclasses.replace(sagan, name="cifar10_sngan", model=model)
