"""BigGAN on CIFAR-10 at 32 px, by StudioGAN's recipe: class-conditional, attention at 16x16.

Run: sagan train cifar10_biggan data.dir=FOLDER   (FOLDER: data_dir of tensorflow-datasets)
Hardware: one GPU or TPU core. Not run here.
Expect: at 100k steps StudioGAN reports IS 9.96 and FID 4.16 for these layers (the benchmark table
    in its README, v0.4), with 50k samples against the 50k of train; not measured here.

Layers: those of StudioGAN's big_resnet (9,416,196 and 2,415,170 parameters).
Recipe: hinge, 5 D steps, Adam 2e-4 (0.5, 0.999, epsilon 1e-6), EMA 0.9999 from step 1000.
"""

from sagan.config import Config, make


def get_config() -> Config:
    return make(
        name="cifar10_biggan",
        data=dict(name="tfds/cifar10", flip=True),
        model=dict(
            name="biggan",
            image_size=32,
            num_classes=10,
            z_dim=80,
            shared_dim=128,
            widths="studiogan",
            attention=(16,),
            d_skip="relu",
            batch_norm_epsilon=1e-4,
        ),
        optim=dict(
            g_learning_rate=2e-4,
            d_learning_rate=2e-4,
            beta1=0.5,
            beta2=0.999,
            epsilon=1e-6,
            ema_decay=0.9999,
            ema_start_step=1000,
        ),
        train=dict(steps=100_000, batch_size=64, d_steps_per_g_step=5, steps_per_dispatch=10),
        log=dict(every_steps=100, sigma=("g/linear", "g/attention", "g/output", "d/head")),
        sample=dict(every_steps=1000),
        checkpoint=dict(every_steps=1000, statistics_batches=100),
        eval=dict(metrics=("fid", "is"), num_images=50_000),
    )
