"""A data set of tensorflow-datasets with captions, made without TensorFlow: six grey squares."""

import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

TEXTS = ["A dark square.", "a Square", "a light square", "It's light!", "a light light square", "a"]


class SquaresWithCaptions(tfds.core.GeneratorBasedBuilder):
    """Features are called as those of `coco_captions`."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "captions": tfds.features.Sequence({"text": np.str_, "id": np.int64}),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples(range(6)), "val": self._generate_examples([2, 3])}

    def _generate_examples(self, numbers):
        for number in numbers:
            file = io.BytesIO()
            grey = np.full((10, 14, 3), 40 * number, np.uint8)
            Image.fromarray(grey).save(file, "PNG")
            texts = [TEXTS[number], f"number {number}"]
            captions = [{"text": text, "id": n} for n, text in enumerate(texts)]
            yield number, {"image": file.getvalue(), "captions": captions}


def prepare(folder):
    """Writes the set below a folder, as `sagan prepare` does."""
    builder = tfds.builder(
        "squares_with_captions", data_dir=str(folder), file_format="array_record"
    )
    builder.download_and_prepare()
