"""Measures how long an Image Transformer draws images of several sizes, as a Markdown table.

    python tests/tools/time_sampling.py [SIDE …]

The network is small, has local attention in one dimension, and is not trained: only the time
counts. Images are drawn 32 at a time, and the best of three times is taken, after a first one that
compiles.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from sagan.models import image_transformer
from sagan.tasks.image_transformer import generate
from sagan.tasks.image_transformer.generate import Wanted
from sagan.tasks.image_transformer.step import inputs

_IMAGES = 32
_NETWORK = {"num_classes": None, "channels": 1, "levels": 17, "layers": 4, "features": 64,
            "heads": 4, "feed_forward": 256, "block": (64,), "memory": (64,)}  # fmt: skip


def seconds(side: int, images: int) -> float:
    """Returns the time in which so many images of this side are drawn."""
    config = image_transformer.Config(image_size=side, **_NETWORK)
    given = inputs(config, jnp.zeros((side, side, 3)), None)
    network = image_transformer.build(config)
    weights = generate.replicated(network.init(jax.random.key(0), *given))
    wanted = Wanted(np.arange(images, dtype=np.uint32), None, None, None)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        generate.draw(config, weights, wanted, seed=0, temperature=1.0)
        times.append(time.perf_counter() - start)
    return min(times[1:])


if __name__ == "__main__":
    print("| side | pixels | ms for an image | µs for a pixel |\n|---|---|---|---|")
    for side in map(int, sys.argv[1:] or ("8", "16", "32", "64")):
        each = seconds(side, _IMAGES) / _IMAGES
        print(f"| {side} | {side**2} | {1e3 * each:.2f} | {1e6 * each / side**2:.1f} |", flush=True)
