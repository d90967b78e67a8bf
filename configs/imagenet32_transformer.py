"""ImageNet at 32 px by an Image Transformer: 256 levels of each channel, local in one dimension.

Run: sagan train imagenet32_transformer data.dir=FOLDER   (FOLDER: data_dir of tensorflow-datasets,
    with downsampled_imagenet/32x32 prepared)
Hardware: several GPUs or TPU cores, for days.
Expect: 3.77 bits per dimension of the validation images (Parmar et al. 2018, Table 4); not measured
    here.

Settings: `imagetransformer_imagenet32_base` of tensor2tensor.
Data: van den Oord et al. 2016, 1.28 million images without classes.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("cifar10_transformer"),
        name="imagenet32_transformer",
        data=dict(name="tfds/downsampled_imagenet/32x32"),
        model=dict(dropout=0.1),
        train=dict(steps=1_000_000, batch_size=128),
    )
