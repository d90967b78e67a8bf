"""The smallest captioning run, shared by tests: squares of four greys, and what they are called.

This module is also the run's data source and its encoder.
"""

import jax.numpy as jnp
import numpy as np

from sagan.config import make
from sagan.data.captions import SPECIAL, encode

_GREYS = (60, 120, 180, 240)
CONFIG = make(
    name="tiny_captions",
    task="captioning",
    data={"name": "support.tiny_captions"},
    model={
        "name": "show_attend_tell",
        "image_size": 8,
        "encoder": "support.tiny_captions",
        "vocabulary_size": 9,
        "max_words": 4,
        "word_dim": 4,
        "hidden_dim": 5,
        "attention_dim": 3,
    },
    optim={"learning_rate": 0.01},
    train={"steps": 4, "batch_size": 8},
    eval={"metrics": ("bleu", "exact_match", "pointing"), "num_images": 6, "best_metric": "bleu"},
    sample={"num_per_class": 2},
)


class Squares:
    """A grey square in one of the four corners, with two captions, of three words and of two."""

    class_names = ("all",)
    vocabulary = (*SPECIAL, "a", "the", "square", "black", "dark", "light", "white")
    boxed_words = vocabulary[-4:]
    fields = {
        "captions": ((2, 5), np.dtype(np.int32)),
        "boxes": ((1, 4), np.dtype(np.int32)),
    }
    key = "squares"

    def __len__(self):
        return 40

    def caption_lengths(self):
        return np.tile([4, 3], (len(self), 1))

    def __getitem__(self, index):
        grey, (top, left) = index % 4, divmod(index // 4 % 4, 2)
        image = np.zeros((8, 8, 3), np.uint8)
        image[4 * top : 4 * top + 4, 4 * left : 4 * left + 4] = _GREYS[grey]
        said = self.boxed_words[grey]
        texts = [["a", said, "square"], ["the", said]]
        fields = {
            "captions": encode(texts, self.vocabulary, 5),
            "boxes": np.array([[4 * top, 4 * left, 4 * top + 4, 4 * left + 4]], np.int32),
        }
        return {"image": image, "label": 0, "fields": fields}


def grid(image_size):
    return image_size // 4


def init(key, image_size):
    return {"scale": jnp.ones(())}


def annotate(params, images):
    """Returns the mean colour of each quarter, and a number of its own."""
    batch, size = images.shape[:2]
    side = size // 4
    mean = images.reshape(batch, side, 4, side, 4, 3).mean((2, 4)).reshape(batch, side**2, 3)
    places = jnp.broadcast_to(jnp.arange(side**2)[None, :, None], (batch, side**2, 1))
    return jnp.concatenate([mean * params["scale"], places / side**2], -1)


def load(source_or_config, image_size=None, argument=""):
    """Returns the source, or as an encoder the weights: both kinds of plug-in have this name."""
    if image_size is None:
        return {"scale": np.float32(2)}
    return Squares()
