"""A folder with hundreds of images: augmented for the discriminator, which is also held back.

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
            augment=("color", "translation", "cutout"),
            regularisers=("lecam=0.3",),
            steps=50_000,
        ),
    )
