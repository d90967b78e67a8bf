"""`sagan prepare` makes a data set that training reads, or says what it lacks."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sagan import cli, data
from sagan.config import DataConfig


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


class PlainSquares(tfds.core.GeneratorBasedBuilder):
    """Grey squares, which need neither a network nor TensorFlow."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent

    def _info(self):
        image = tfds.features.Image(shape=(8, 8, 3), encoding_format="png")
        features = {"image": image, "label": tfds.features.ClassLabel(names=["dark", "light"])}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples(), "test": self._generate_examples()}

    def _generate_examples(self):
        for number in range(6):
            yield number, {"image": png(40 * number), "label": number // 3}


def said(words, status, capsys):
    assert cli.main(words) == status
    return "".join(capsys.readouterr())


def test_a_data_set_is_prepared_and_read(tmp_path, capsys):
    words = ["prepare", "plain_squares", f"data.dir={tmp_path}"]
    assert str(tmp_path / "plain_squares" / "1.0.0") in said(words, 0, capsys)
    source = data.load(DataConfig(name="tfds/plain_squares", dir=str(tmp_path)), 8)
    assert source.class_names == ("dark", "light") and len(source) == 6
    images, labels = data.read(source, range(6))
    assert sorted(images[:, 0, 0, 0]) == [0, 40, 80, 120, 160, 200]
    assert [int(image.max()) >= 120 for image in images] == list(labels == 1)
    assert source.held_out == "test"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert "plain_squares" in said(words, 0, capsys)  # again: nothing to do
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()} == before


def test_the_message_of_a_missing_set_names_the_command(tmp_path, capsys, monkeypatch):
    assert "sagan prepare cifar10 data.dir=" in said(
        ["train", "cifar10", f"data.dir={tmp_path}"], 2, capsys
    )
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert said(["train", "cifar10"], 2, capsys).rstrip().endswith("sagan prepare cifar10")


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["cifar1"], ["'cifar1'", "did you mean cifar10"]),
        (["cifar10", "train.steps=1"], ["train.steps=1", "data.dir"]),
        (["cifar10", "data.dir=gs://bucket"], ["gs://bucket", "Mount"]),
        (["cifar10"], ["TensorFlow", "pip install tensorflow"]),
        (["imagenet2012"], ["by hand", "manual", "ILSVRC2012_img_train.tar"]),
        (["imagenet_resized/7x7"], ["imagenet_resized/7x7", "64x64"]),
    ],
)
def test_what_is_missing_is_said_before_anything_is_written(
    words, facts, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "tensorflow", None)  # as if it were not installed
    text = said(["prepare", *words], 2, capsys)
    assert [fact for fact in facts if fact not in text] == [] and "Traceback" not in text
    assert list(tmp_path.iterdir()) == []
