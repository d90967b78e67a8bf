"""The smallest real GAN, shared by tests: SAGAN at 8 px on images of discs."""

import jax
import numpy as np

from sagan.config import make

CONFIG = make(
    name="tiny",
    data={"name": "synthetic", "flip": True},
    model={
        "image_size": 8,
        "num_classes": 4,
        "z_dim": 8,
        "g_channels": 4,
        "d_channels": 4,
        "attention": (8,),
        "attention_d": (4,),
    },
    optim={"ema_decay": 0.5, "ema_start_step": 2},
    train={"steps": 8, "batch_size": 8, "d_steps_per_g_step": 2},
)
# For tests of what does not depend on the networks; it compiles in a tenth of the time.
DENSE = make(
    name="dense",
    data={"name": "synthetic", "flip": True},
    model={"name": "support.dense_pair", "image_size": 8, "num_classes": 4, "z_dim": 8},
    optim={"ema_decay": 0.5, "ema_start_step": 2},
    train={"steps": 8, "batch_size": 8, "d_steps_per_g_step": 2},
)


def same_bits(a, b):
    """Lists the leaves of two trees that differ in any bit."""
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(a), jax.tree_util.tree_leaves_with_path(b), strict=True
    )
    return [
        jax.tree_util.keystr(path)
        for (path, x), (_, y) in pairs
        if np.asarray(x).tobytes() != np.asarray(y).tobytes()
    ]
