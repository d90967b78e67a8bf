"""Measures how long an Image Transformer draws images of several sizes, as a Markdown table.

    python tests/tools/time_sampling.py [SIDE …]

The network is small, has local attention in one dimension, and is not trained: only the time
counts. Images are drawn 32 together, and the best of three times is taken, after a first one that
compiles. On a processor that others use too, its own time says more.
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

_IMAGES = 32  # as many as are drawn together
_NETWORK = {"num_classes": None, "channels": 1, "levels": 17, "layers": 4, "features": 64,
            "heads": 4, "feed_forward": 256, "block": (64,), "memory": (64,)}  # fmt: skip


def seconds(side: int) -> tuple[float, float]:
    """Returns the time in which the images are drawn at this side, and the processor's time."""
    config = image_transformer.Config(image_size=side, **_NETWORK)
    given = inputs(config, jnp.zeros((side, side, 3)), None)
    network = image_transformer.build(config)
    weights = generate.replicated(network.init(jax.random.key(0), *given))
    wanted = Wanted(np.arange(_IMAGES, dtype=np.uint32), None, None, None)
    walls, processor = [], []
    for _ in range(4):
        wall, cpu = time.perf_counter(), time.process_time()
        generate.draw(config, weights, wanted, seed=0, temperature=1.0)
        walls.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    return min(walls[1:]), min(processor[1:])


if __name__ == "__main__":
    print("| side | pixels | ms for an image | µs for a pixel | CPU µs for a pixel |")
    print("|---|---|---|---|---|")
    for side in map(int, sys.argv[1:] or ("8", "16", "32", "64")):
        wall, cpu = (1e6 * found / _IMAGES / side**2 for found in seconds(side))
        each = wall * side**2 / 1e3
        print(f"| {side} | {side**2} | {each:.2f} | {wall:.0f} | {cpu:.0f} |", flush=True)
