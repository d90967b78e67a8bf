"""Captions as numbers, the scenes, and fields of examples on their way to the device."""

import jax
import numpy as np
import pytest
from support.tiny_captions import CONFIG

from sagan import data
from sagan.config import ConfigError, replace
from sagan.data import captions, decoded
from sagan.data.pipeline import Feed, Pipeline, decode
from sagan.data.sources.scenes import Scenes
from sagan.parallel.devices import Devices


def test_words_become_numbers_and_come_back():
    texts = [captions.tokens("A dog's tail."), captions.tokens("a dog"), ["rare"]]
    known = captions.vocabulary(texts, 1)
    assert known == ("<end>", "<unknown>", "a", "dog", "dog's", "rare", "tail")
    rows = captions.encode([*texts, ["a", "cat"]], known, 3)
    assert rows.tolist() == [[2, 4, 0], [2, 3, 0], [5, 0, 0], [2, 1, 0]]
    assert captions.words(rows[1], known) == ["a", "dog"]
    assert captions.vocabulary(texts, 2) == ("<end>", "<unknown>", "a")


@pytest.fixture(scope="module")
def scenes():
    return Scenes("train", 24), Scenes("test", 24)


def test_a_scene_holds_the_digits_of_its_caption(scenes):
    for index in range(40):
        example = scenes[0][index]
        rows, boxes = example["fields"]["captions"], example["fields"]["boxes"]
        sentence = captions.words(rows[0], Scenes.vocabulary)
        named = [word for word in sentence if word in Scenes.boxed_words]
        boxes = boxes[boxes[:, 0] >= 0]
        assert len(boxes) == len(named) >= 1
        empty = example["image"].copy()
        for top, left, bottom, right in boxes:
            assert bottom - top == right - left == 8
            empty[top:bottom, left:right] = 0
        assert not empty.any()
        for first, second in zip(boxes, boxes[1:], strict=False):
            between = sentence[sentence.index(named[0]) :]
            assert "left" in between or "above" in between
            assert first[1] < second[1] or first[0] < second[0]


def test_scenes_are_the_same_each_time_and_share_no_handwriting(scenes):
    again = Scenes("train", 24)
    for index in (0, 11_999):
        np.testing.assert_array_equal(again[index]["image"], scenes[0][index]["image"])

    def digits(source):
        found = set()
        for index in range(300):
            example = source[index]
            boxes = example["fields"]["boxes"]
            if (boxes[:, 0] >= 0).sum() == 1:
                top, left, bottom, right = boxes[0]
                found.add(example["image"][top:bottom, left:right].tobytes())
        return found

    train, test = map(digits, scenes)
    assert train and test and not train & test
    with pytest.raises(ConfigError, match="train, test"):
        Scenes("tests", 24)
    with pytest.raises(ConfigError, match="image_size"):
        Scenes("train", 16)


def test_fields_reach_the_device_from_memory_and_from_a_stream():
    def batches(resident_bytes):
        config = replace(CONFIG, data={"resident_bytes": resident_bytes, "workers": 0})
        source = data.load(config.data, 8)
        pipeline = Pipeline(Feed.of(config, 1), source, Devices())
        for batch in pipeline.batches([(0, 1), (1, 1)]):
            one = jax.tree.map(lambda x: x[0], batch)
            keys = jax.random.split(jax.random.key(0), (1, 8))
            yield decode(config.data, False, pipeline.data, one, keys)

    for held, streamed in zip(batches(1 << 20), batches(0), strict=True):
        assert held.fields.keys() == {"captions", "boxes"}
        for name in held.fields:
            np.testing.assert_array_equal(held.fields[name], streamed.fields[name])
        np.testing.assert_array_equal(held.image, streamed.image)


def test_fields_of_large_sets_are_cached(monkeypatch):
    monkeypatch.setattr(decoded, "MIN_CACHED_IMAGES", 10)
    source = data.load(CONFIG.data, 8)
    for _ in range(2):  # written, then read
        whole = decoded.decode_up_to(source, 8, 1 << 20)
        assert data.vocabulary_of(whole) == source.vocabulary
        for name in source.fields:
            np.testing.assert_array_equal(
                data.read_all(whole, [3, 30])[2][name], data.read_all(source, [3, 30])[2][name]
            )
