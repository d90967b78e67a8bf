"""Folders of small pictures to be scored."""

import numpy as np
from PIL import Image

SIZE = 12


def pictures(seed, n, size=SIZE):
    """Draws uint8 (n, size, size, 3): each picture one colour, with noise."""
    random = np.random.RandomState(seed)
    colours = random.randint(60, 200, (n, 1, 1, 3))
    return (colours + random.randint(-50, 50, (n, size, size, 3))).astype(np.uint8)


def write(folder, images, suffix="png", classes=None):
    """Writes one file per image, into sub-folders in turn if there are classes."""
    for i, image in enumerate(images):
        place = folder / classes[i % len(classes)] if classes else folder
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:04}.{suffix}")
    return str(folder)
