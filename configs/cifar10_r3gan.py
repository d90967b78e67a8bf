"""R3GAN on CIFAR-10 at 32 px: no normalisation, paired relativistic loss, penalties r1 and r2.

Run: sagan train cifar10_r3gan data.dir=FOLDER   (FOLDER: data_dir of tensorflow-datasets)
Hardware: eight GPUs for four days, as published. Not run here.
Expect: the paper (arXiv:2501.05441) reports FID 1.96 after 250 million images, with 50k samples
    against the 50k of train; not measured here.

Recipe: learning rates, beta2, weights of the penalties, the augmentation's probability and the
    average's half-life move along half a cosine over the first 20 million images. The 4x4 maps
    are always float32; `model.dtype=bfloat16` computes the others as published.
Differences from the released code: ADA's images are not filtered before and after they are moved,
    and the generator's update compares with the real images that the discriminator saw last.
"""

from sagan.config import Config, make


def over_burn_in(start: float, end: float) -> str:
    """Returns the schedule of a value that moves while the discriminator sees 20 million images."""
    return f"cosine:{start}:{end}:20_000_000"


def get_config() -> Config:
    gamma = over_burn_in(0.05, 0.005)
    return make(
        name="cifar10_r3gan",
        data=dict(name="tfds/cifar10", flip=True),
        model=dict(name="r3gan", image_size=32, num_classes=10),
        optim=dict(
            g_learning_rate=over_burn_in(2e-4, 5e-5),
            d_learning_rate=over_burn_in(2e-4, 5e-5),
            beta1=0.0,
            beta2=over_burn_in(0.9, 0.99),
            epsilon=1e-8,
            ema_half_life=over_burn_in(0, 5_000_000),
            ema_start_step=0,
        ),
        train=dict(
            steps=488_000,
            batch_size=512,
            loss="rpgan",
            penalties=(f"r1={gamma}", f"r2={gamma}"),
            augment=("bgc_r3gan",),
            augment_p=over_burn_in(0, 0.55),
            steps_per_dispatch=10,
        ),
        log=dict(every_steps=100),
        sample=dict(every_steps=1000),
        checkpoint=dict(every_steps=1000),
        eval=dict(metrics=("fid", "is"), num_images=50_000),
    )
