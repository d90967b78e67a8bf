"""SAGAN on ImageNet at 128 px as published: attention at 32x32, no weight averaging.

Run: sagan train imagenet128_paper data.dir=FOLDER   (a prepared tfds imagenet2012)
Hardware: 8 accelerators or more; the authors used 4 GPUs for two weeks.
Expect: after 1M steps the paper's table of attention at different layers reports FID 18.28 and
    IS 51.43 for 32x32, and FID 18.65 and IS 52.52 for 64x64, the result in its abstract. Re-runs by
    others of this recipe fell short. Not measured here.

Source: arXiv:1805.08318, Sections 4-5, and its released code: batch 256, hinge, Adam (0, 0.9),
    1e-4 and 4e-4, Xavier, batch norm decay 0.999, no flips.
Deviation: the discriminator moves before the generator; batch statistics are over all devices
    (the authors' over 64 images on each).
"""

from sagan.config import Config, make


def get_config() -> Config:
    return make(
        name="imagenet128_paper",
        data=dict(name="tfds/imagenet2012"),
        model=dict(image_size=128, num_classes=1000, attention=(32,), batch_norm_decay=0.999),
        optim=dict(g_learning_rate=1e-4, d_learning_rate=4e-4, beta1=0.0, beta2=0.9, ema_decay=0.0),
        train=dict(steps=1_000_000, batch_size=256),
        log=dict(every_steps=100),
        sample=dict(every_steps=5000),
        checkpoint=dict(every_steps=5000, keep_every_steps=100_000),
        eval=dict(metrics=("fid", "is"), num_images=50_000),
    )
