"""BigGAN on CIFAR-10 with LeCam: logits kept close to the averages of the other side.

Run: sagan train cifar10_lecam data.dir=FOLDER   (FOLDER: data_dir of tensorflow-datasets)
Hardware: one GPU or TPU core. Not run here.
Expect: at 200k steps StudioGAN reports IS 10.17 and FID 3.23 (the benchmark table in its README,
    v0.4), with 50k samples against the 50k of train; not measured here.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("cifar10_biggan"),
        name="cifar10_lecam",
        train=dict(regularisers=("lecam=0.3",), steps=200_000),
    )
