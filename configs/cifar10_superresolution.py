"""CIFAR-10 from 8 to 32 px: an Image Transformer that reads a small copy of each image.

Run: sagan train cifar10_superresolution data.dir=FOLDER   (as cifar10_transformer)
Hardware: one GPU or TPU core, for days.
Expect: not measured here. On faces of CelebA, Parmar et al. (2018) report 2.61 bits per dimension
    for rectangles and 2.68 for one dimension.

An encoder of 4 layers reads the 8 x 8 copy, and each of the decoder's 12 layers looks at it. Blocks
are rectangles of 16 x 16 positions, of which a pixel has three in a row.
Data: Krizhevsky 2009.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("cifar10_transformer"),
        name="cifar10_superresolution",
        model=dict(
            low_resolution=8,
            encoder_layers=4,
            attention="local_2d",
            block=(16, 16),
            memory=(16, 32),
            dropout=0.1,
        ),
    )
