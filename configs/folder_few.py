"""A folder with hundreds of images: what the discriminator sees is changed, as far as it needs it.

Run: sagan train folder_few data.dir=FOLDER [model.image_size=64|128|256]
Hardware: one accelerator.
Expect: depends on the images; docs/models.md shows what this does to 200 handwritten digits.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("folder"),
        name="folder_few",
        train=dict(
            augment=("bgc",),
            augment_p="adaptive",
            steps=50_000,
        ),
    )
