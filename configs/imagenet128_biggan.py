"""BigGAN on ImageNet at 128 px, by StudioGAN's recipe with 2048 images a batch.

Run: sagan train imagenet128_biggan data.dir=FOLDER   (a prepared tfds imagenet2012)
Hardware: 32 accelerators or more. Not run here.
Expect: the paper (arXiv:1809.11096) reports IS 98.8 and FID 8.7 at batch 2048; StudioGAN reports
    IS 99.7 and FID 7.89 (v0.3, against the 50k validation images). Not measured here.

Layers: ch 96, z 120, shared class vector of 128, attention at 64x64 (70,433,988 and 87,982,370
    parameters).
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("imagenet128"),
        name="imagenet128_biggan",
        model=dict(
            name="biggan",
            z_dim=120,
            shared_dim=128,
            g_channels=96,
            d_channels=96,
            attention=(64,),
            init="orthogonal",
            batch_norm_epsilon=1e-4,
        ),
        optim=dict(
            g_learning_rate=5e-5,
            d_learning_rate=2e-4,
            beta1=0.0,
            beta2=0.999,
            epsilon=1e-6,
            ema_decay=0.9999,
            ema_start_step=20_000,
        ),
        train=dict(steps=200_000, batch_size=2048, d_steps_per_g_step=2),
    )
