"""Order, division among processes, augmentation, and resident and streamed sets."""

import errno
import os

import jax
import numpy as np
import pytest
from support.tiny import CONFIG

from sagan import data
from sagan.config import ConfigError, replace
from sagan.data import decoded, unreadable
from sagan.data.pipeline import Feed, Pipeline, decode, dispatch_indices, order
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


def feed_of(config):
    return Feed.of(config, config.train.d_steps_per_g_step)


def open_pipeline(config, devices=2):
    source = data.load(config.data, 8)
    return Pipeline(feed_of(config), source, Devices(devices=jax.devices()[:devices]))


def test_resident_and_streamed_batches_are_the_same_images():
    resident = open_pipeline(CONFIG)
    streamed = open_pipeline(replace(CONFIG, data={"resident_bytes": 0, "workers": 0}))
    assert resident.resident and not streamed.resident
    keys = jax.random.split(jax.random.key(0), (2, 8))
    dispatches = [(3, 1), (4, 2), (6, 1)]
    pairs = zip(resident.batches(dispatches), streamed.batches(dispatches), strict=True)
    for a, b in pairs:
        one = decode(CONFIG.data, True, resident.data, jax.tree.map(lambda x: x[0], a), keys)
        two = decode(CONFIG.data, True, (), jax.tree.map(lambda x: x[0], b), keys)
        np.testing.assert_array_equal(one.image, two.image)
        np.testing.assert_array_equal(one.label, two.label)


@pytest.mark.slow
def test_streaming_through_worker_processes_keeps_the_order():
    config = replace(CONFIG, data={"resident_bytes": 0, "workers": 2})
    alone = replace(CONFIG, data={"resident_bytes": 0, "workers": 0})
    dispatches = [(2, 1), (3, 3), (6, 1), (7, 1)]
    batches = list(open_pipeline(config).batches(iter(dispatches)))
    expected = list(open_pipeline(alone).batches(dispatches))
    assert [len(batch["image"]) for batch in batches] == [1, 3, 1, 1]
    for a, b in zip(batches, expected, strict=True):
        np.testing.assert_array_equal(a["image"], b["image"])


def test_processes_read_their_own_share_of_one_global_batch():
    def read(begin, end):
        return dispatch_indices(feed_of(CONFIG), 512, 4, 2, slice(begin, end))

    np.testing.assert_array_equal(np.concatenate([read(0, 3), read(3, 8)], axis=-1), read(0, 8))
    assert read(0, 8).shape == (2, CONFIG.train.d_steps_per_g_step, 8)


@pytest.mark.parametrize("resident_bytes", [10**6, 0])
def test_dispatches_of_any_size_read_the_same_batches(resident_bytes):
    pipeline = open_pipeline(replace(CONFIG, data={"resident_bytes": resident_bytes, "workers": 0}))

    def steps(dispatches):
        found = list(pipeline.batches(dispatches))
        for (_, size), batch in zip(dispatches, found, strict=True):
            like = pipeline.abstract(size)
            shapes = jax.tree.map(lambda x: (x.shape, x.dtype), (batch, like))
            assert shapes[0] == shapes[1]
        return jax.tree.map(lambda *parts: np.concatenate(parts), *found)

    single, mixed = steps([(n, 1) for n in range(2, 8)]), steps([(2, 3), (5, 1), (6, 2)])
    assert single.keys() == mixed.keys()
    for name in single:
        np.testing.assert_array_equal(single[name], mixed[name])


def test_decoded_range_and_flip():
    config = replace(CONFIG, data={"flip": True})
    whole = {
        "image": np.array([[[[0, 128, 255]] * 8] * 8], np.uint8),
        "label": np.zeros(1, np.int32),
    }
    whole["image"][0, :, 0] = 255
    batch = {"index": np.zeros((1, 64), np.int32)}
    keys = jax.random.split(jax.random.key(0), (1, 64))
    image = np.asarray(decode(config.data, True, whole, batch, keys).image)[0]
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
    image = np.asarray(decode(config.data, True, whole, batch, keys).image)[0]
    found = {int(round((x + 1) * 255 / 2)) for x in image[:, 4, 4, 0]}
    assert found == {int(row[4 + d]) for d in (-2, -1, 0, 1, 2)}


def test_unconditional_batches_have_no_labels():
    config = replace(CONFIG, model={"num_classes": None})
    pipeline = open_pipeline(config, devices=1)
    keys = jax.random.split(jax.random.key(0), (2, 8))
    batch = jax.tree.map(lambda x: x[0], next(pipeline.batches([(0, 1)])))
    assert decode(config.data, False, pipeline.data, batch, keys).label is None


class _Unreadable(list):
    class_names, key = ("a",), "unreadable"

    def __getitem__(self, index):
        raise BadImage(f"{index}: no image")


def test_a_set_without_a_readable_image_ends():
    tolerant = unreadable.Tolerant(_Unreadable(range(5000)))
    with pytest.raises(ConfigError) as error:
        tolerant[4998]
    assert all(text in str(error.value) for text in ("6 of 5000", "0: no image", "2: no image"))
    assert "3: no image" not in str(error.value)
    assert unreadable.unpack(unreadable.pack(tolerant.bad)) == tolerant.bad


class _Wrong:
    class_names, key = ("a", "b"), "wrong"

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"image": np.zeros((8, 8, 3), np.uint8), "label": index}


def test_labels_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="image 2 .*label 2.* 0 … 1"):
        decoded.arrays(_Wrong(), 8)


class _Counted:
    """A set that is large enough for the cache, and counts how often it is read."""

    class_names, key, reads = ("a", "b"), "counted", 0

    def __len__(self):
        return decoded.MIN_CACHED_IMAGES + 1

    def __getitem__(self, index):
        self.reads += 1
        return {"image": np.full((8, 8, 3), index % 256, np.uint8), "label": index % 2}


def test_a_set_is_decoded_once(monkeypatch, tmp_path):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    source = _Counted()
    images, labels = decoded.arrays(source, 8)
    again = decoded.arrays(source, 8)
    assert source.reads == len(source)
    np.testing.assert_array_equal(images, again[0])
    np.testing.assert_array_equal(labels, again[1])
    np.testing.assert_array_equal(images[5], source[5]["image"])
    assert labels[5] == 1
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names == ["counted.bad.json", "counted.images.npy", "counted.labels.npy"]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no such call on this system")
def test_a_full_disk_is_met_before_a_set_is_decoded(monkeypatch, tmp_path):
    """Otherwise writing to a page of the mapped file would end the process with SIGBUS."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    monkeypatch.setattr(os, "posix_fallocate", full)
    source = _Counted()
    needed = f"{decoded.num_bytes(source, 8):,} bytes"
    with pytest.raises(ConfigError, match=f"SAGAN_CACHE.*{needed}.*No space left"):
        decoded.arrays(source, 8)
    assert source.reads == 0
    assert not list((tmp_path / "data").iterdir())
    monkeypatch.setenv("SAGAN_CACHE", "/proc/nowhere")
    with pytest.raises(ConfigError, match="/proc/nowhere/data"):
        decoded.arrays(source, 8)


def test_batches_need_enough_images():
    config = replace(CONFIG, train={"batch_size": 1024})
    with pytest.raises(ConfigError, match="512.*train.batch_size=1024"):
        data.resolve(config, data.load(config.data, 8))
