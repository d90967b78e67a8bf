"""R3GAN on ImageNet at 32 px, with classes.

Run: sagan train imagenet32_r3gan data.dir=FOLDER   (FOLDER: data_dir of tensorflow-datasets, with
    imagenet_resized/32x32 prepared)
Hardware: 32 GPUs, as published. Not run here.
Expect: the paper (arXiv:2501.05441) reports FID 1.27, with 50k samples against the train set; not
    measured here.

Layers: 1536 channels in groups of 32 (82.9 and 86.5 million parameters).
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    def over_burn_in(start: float, end: float) -> str:
        return f"cosine:{start}:{end}:200_000_000"

    gamma = over_burn_in(0.5, 0.05)
    return replace(
        preset("cifar10_r3gan"),
        name="imagenet32_r3gan",
        data=dict(name="tfds/imagenet_resized/32x32"),
        model=dict(g_channels=1536, d_channels=1536, group_width=32, num_classes=1000),
        optim=dict(
            g_learning_rate=over_burn_in(2e-4, 5e-5),
            d_learning_rate=over_burn_in(2e-4, 5e-5),
            beta2=over_burn_in(0.9, 0.99),
            ema_half_life=over_burn_in(0, 50_000_000),
        ),
        train=dict(
            steps=200_000,
            batch_size=4096,
            penalties=(f"r1={gamma}", f"r2={gamma}"),
            augment_p=over_burn_in(0, 0.5),
        ),
    )
