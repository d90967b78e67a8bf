"""Order, shares, augmentation and the two ways to the devices."""

import errno
import itertools
import os

import jax
import numpy as np
import pytest
from support.tiny import CONFIG

from sagan import data
from sagan.config import ConfigError, DataConfig, replace
from sagan.data import decoded, unreadable
from sagan.data.pipeline import Pipeline, _Share, decode, order
from sagan.files.images import BadImage
from sagan.parallel.devices import Devices


def test_each_epoch_is_a_permutation_of_its_own():
    first, second = order(0, 10, 0, 10), order(0, 10, 10, 10)
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)
    assert list(order(1, 10, 0, 10)) != list(first)


def test_order_depends_on_the_position_alone():
    whole = order(3, 7, 0, 40)
    for begin, count in ((0, 5), (5, 9), (14, 26), (33, 7)):
        np.testing.assert_array_equal(order(3, 7, begin, count), whole[begin : begin + count])


def _feed(config, devices=2, steps=1):
    seam = Devices(devices=jax.devices()[:devices])
    return Pipeline(config, data.load(config.data, 8), seam, steps)


def test_resident_and_streamed_batches_are_the_same_images():
    resident = _feed(CONFIG)
    streamed = _feed(replace(CONFIG, data={"resident_bytes": 0, "workers": 0}))
    assert resident.resident and not streamed.resident
    keys = jax.random.split(jax.random.key(0), (2, 8))
    pairs = zip(resident.batches(3), streamed.batches(3), strict=False)
    for a, b in itertools.islice(pairs, 3):
        one = decode(CONFIG, resident.data, jax.tree.map(lambda x: x[0], a), keys)
        two = decode(CONFIG, (), jax.tree.map(lambda x: x[0], b), keys)
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.label, two.label)


@pytest.mark.slow
def test_streaming_through_worker_processes_keeps_the_order():
    config = replace(CONFIG, data={"resident_bytes": 0, "workers": 2})
    alone = replace(CONFIG, data={"resident_bytes": 0, "workers": 0})
    batches = list(_feed(config).batches(2))
    expected = list(_feed(alone).batches(2))
    assert len(batches) == len(expected) == CONFIG.train.steps - 2
    for a, b in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_processes_read_their_own_share_of_one_global_batch():
    def share(begin, end):
        return _Share(CONFIG, 512, 2, begin, end).indices(4)

    np.testing.assert_array_equal(np.concatenate([share(0, 3), share(3, 8)], axis=-1), share(0, 8))
    assert share(0, 8).shape == (2, CONFIG.train.d_steps_per_g_step, 8)


def test_decoded_range_and_flip():
    config = replace(CONFIG, data={"flip": True})
    whole = {
        "image": np.array([[[[0, 128, 255]] * 8] * 8], np.uint8),
        "label": np.zeros(1, np.int32),
    }
    whole["image"][0, :, 0] = 255
    batch = {"index": np.zeros((1, 64), np.int32)}
    keys = jax.random.split(jax.random.key(0), (1, 64))
    image = np.asarray(decode(config, whole, batch, keys).image)[0]
    assert image.min() == -1 and image.max() == 1
    flipped = image[:, 0, 0, 0] < 1
    assert 16 < flipped.sum() < 48
    np.testing.assert_array_equal(image[flipped][:, :, ::-1][0], image[~flipped][0])


def test_shift_repeats_edges_and_stays_within_its_bound():
    config = replace(CONFIG, data={"flip": False, "shift_px": 2})
    row = np.arange(8, dtype=np.uint8) * 30
    whole = {
        "image": np.tile(row[None, None, :, None], (1, 8, 1, 3)),
        "label": np.zeros(1, np.int32),
    }
    batch = {"index": np.zeros((1, 50), np.int32)}
    keys = jax.random.split(jax.random.key(0), (1, 50))
    image = np.asarray(decode(config, whole, batch, keys).image)[0]
    found = {int(round((x + 1) * 255 / 2)) for x in image[:, 4, 4, 0]}
    assert found == {int(row[4 + d]) for d in (-2, -1, 0, 1, 2)}


def test_unconditional_batches_have_no_labels():
    config = replace(CONFIG, model={"num_classes": None})
    pipeline = _feed(config, devices=1)
    keys = jax.random.split(jax.random.key(0), (2, 8))
    batch = jax.tree.map(lambda x: x[0], next(pipeline.batches(0)))
    assert decode(config, pipeline.data, batch, keys).label is None


class _Unreadable(list):
    class_names, key = ("a",), "unreadable"

    def __getitem__(self, index):
        raise BadImage(f"{index}: no image")


def test_a_set_without_a_readable_image_ends():
    tolerant = unreadable.Tolerant(_Unreadable(range(5000)))
    with pytest.raises(
        ConfigError, match="6 of 5000 images .*: 0: no image; 1: no image; 2: no image; …"
    ):
        tolerant[4998]
    assert unreadable.unpack(unreadable.pack(tolerant.bad)) == tolerant.bad


class _Wrong:
    class_names, key = ("a", "b"), "wrong"

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"image": np.zeros((8, 8, 3), np.uint8), "label": index}


def test_labels_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="image 2 has label 2; allowed: 0 … 1"):
        decoded.arrays(_Wrong(), 8)


def test_a_set_is_decoded_once(monkeypatch, tmp_path):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(decoded, "_SMALL", 10)
    source = data.load(DataConfig(name="synthetic"), 8)
    images, labels = decoded.arrays(source, 8)
    monkeypatch.setattr(decoded, "_fill", None)
    again = decoded.arrays(source, 8)
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(labels, again[1])
    np.testing.assert_array_equal(images[5], source[5]["image"])


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no such call on this system")
def test_a_full_disk_is_met_before_a_set_is_decoded(monkeypatch, tmp_path):
    """Else a page of the mapped file that finds no room ends the process with SIGBUS."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(decoded, "_SMALL", 10)
    monkeypatch.setattr(os, "posix_fallocate", full)
    source = data.load(DataConfig(name="synthetic"), 8)
    with pytest.raises(ConfigError, match="SAGAN_CACHE.* cannot take 98,304 bytes.*No space left"):
        decoded.arrays(source, 8)
    assert not list((tmp_path / "data").iterdir())
    monkeypatch.setenv("SAGAN_CACHE", "/proc/nowhere")
    with pytest.raises(ConfigError, match="/proc/nowhere/data .*cannot take"):
        decoded.arrays(source, 8)


def test_batches_need_enough_images():
    config = replace(CONFIG, train={"batch_size": 1024})
    with pytest.raises(ConfigError, match="has 512 images, fewer than train.batch_size=1024"):
        data.resolve(config, data.load(config.data, 8))
