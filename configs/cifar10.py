"""CIFAR-10 at 32 px: StudioGAN's SAGAN layers, class-conditional, attention at 16x16.

Run: sagan train cifar10 data.dir=FOLDER   (FOLDER: data_dir of tensorflow-datasets)
Hardware: one GPU or TPU core; two CPU cores run it too, for weeks.
Expect: at 100k steps StudioGAN reports IS 8.64 and FID 10.35 for these layers (the benchmark table
    in its README, v0.4), and mmgeneration IS 9.32 and FID 9.43 (its own re-run and evaluator), both
    with 50k samples against the 50k of train; not measured here.

Layers: G 256-256-256, D 128 x 4 (StudioGAN, PD and cBN without spectral norm on the tables).
Recipe: hinge, 5 D steps, Adam 2e-4 (0, 0.9), EMA 0.9999 from step 1000.
Data: Krizhevsky 2009.
"""

from sagan.config import Config, make


def get_config() -> Config:
    return make(
        name="cifar10",
        data=dict(name="tfds/cifar10", flip=True),
        model=dict(image_size=32, num_classes=10, attention=(16,)),
        optim=dict(
            g_learning_rate=2e-4,
            d_learning_rate=2e-4,
            beta1=0.0,
            beta2=0.9,
            ema_decay=0.9999,
            ema_start_step=1000,
        ),
        train=dict(steps=100_000, batch_size=64, d_steps_per_g_step=5, steps_per_dispatch=10),
        log=dict(every_steps=100),
        sample=dict(every_steps=1000),
        checkpoint=dict(every_steps=1000, statistics_batches=100),
        eval=dict(metrics=("fid", "is"), num_images=50_000),
    )
