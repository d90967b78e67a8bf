"""CIFAR-10 at 32 px by an Image Transformer: 256 levels of each channel, local in one dimension.

Run: sagan train cifar10_transformer data.dir=FOLDER   (FOLDER: data_dir of tensorflow-datasets)
Hardware: one GPU or TPU core, for days; memory for 32 images of 3,072 positions.
Expect: 2.90 bits per dimension of the test images (Parmar et al. 2018, Table 4); not measured here.

Settings: `imagetransformer_cifar10_base` of tensor2tensor, whose batches are of 4 images on each
    worker. Their number of workers and steps is not known, so both are chosen here.
Data: Krizhevsky 2009.
"""

from sagan.config import Config, make


def get_config() -> Config:
    return make(
        name="cifar10_transformer",
        task="image_transformer",
        data=dict(name="tfds/cifar10"),
        model=dict(
            name="image_transformer",
            image_size=32,
            num_classes=None,
            layers=12,
            features=512,
            heads=4,
            feed_forward=2048,
            attention="local_1d",
            block=(256,),
            memory=(256,),
            positions="sinusoids",
            dropout=0.3,
            init_gain=0.2,
        ),
        optim=dict(
            learning_rate=0.5,
            schedule="noam",
            warmup_steps=4000,
            beta1=0.9,
            beta2=0.98,
            epsilon=1e-9,
        ),
        train=dict(steps=300_000, batch_size=32, steps_per_dispatch=10),
        log=dict(every_steps=100),
        sample=dict(every_steps=10_000, num_per_class=4),
        checkpoint=dict(every_steps=5000),
        eval=dict(
            at_end=True,
            metrics=("bits_per_dim",),
            num_images=50_000,
            best_metric="bits_per_dim",
        ),
    )
