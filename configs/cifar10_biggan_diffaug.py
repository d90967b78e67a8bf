"""BigGAN on CIFAR-10 with DiffAugment: colours, moves and holes in what the discriminator sees.

Run: sagan train cifar10_biggan_diffaug data.dir=FOLDER   (FOLDER: data_dir of tensorflow-datasets)
Hardware: one GPU or TPU core. Not run here.
Expect: at 100k steps StudioGAN reports IS 10.03 and FID 3.35 (the benchmark table in its README,
    v0.4), with 50k samples against the 50k of train; not measured here.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("cifar10_biggan"),
        name="cifar10_biggan_diffaug",
        train=dict(augment=("color", "translation", "cutout")),
    )
