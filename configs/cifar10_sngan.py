"""CIFAR-10 at 32 px without attention: SNGAN, what `cifar10` is measured against.

Run: sagan train cifar10_sngan data.dir=FOLDER
Hardware: as `cifar10`.
Expect: the benchmark table in StudioGAN's README (v0.4) reports IS 8.83 and FID 9.01 for its
    CIFAR-10 SNGAN; not measured here.

Against `cifar10`: no attention in either network; all else the same. StudioGAN's SNGAN differs: no
    spectral norm in the generator, Adam (0.5, 0.999), no averaged weights.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(preset("cifar10"), name="cifar10_sngan", model={"attention": ()})
