"""Captions as numbers, the scenes, and fields of examples on their way to the device."""

import jax
import numpy as np
import pytest
from support import tiny_tfds
from support.tiny_captions import CONFIG

from sagan import data
from sagan.config import ConfigError, DataConfig, replace
from sagan.data import captions, decoded
from sagan.data.order import by_length
from sagan.data.pipeline import Feed, Pipeline, decode
from sagan.data.sources import tfds_captions
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


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("Un caf\u00e9, s'il vous pla\u00eet!", ["un", "caf\u00e9", "s'il", "vous", "pla\u00eet"]),
        ("un cafe\u0301", ["un", "caf\u00e9"]),  # the accent as a character of its own
        ("the dog\u2019s 'tail'", ["the", "dog's", "tail"]),
        ("\u0915\u0941\u0924\u094d\u0924\u093e", ["\u0915\u0941\u0924\u094d\u0924\u093e"]),
        ("_ ... \U0001f415", []),
    ],
)
def test_words_of_other_scripts_stay_whole(sentence, words):
    assert captions.tokens(sentence) == words


def test_batches_by_length_hold_each_caption_once_in_an_epoch():
    lengths = np.random.default_rng(0).integers(3, 30, (64 * 8 // 2, 2))  # an epoch is one window
    images, which = by_length(5, lengths, 8, 0, lengths.size)
    assert sorted(zip(images.tolist(), which.tolist(), strict=True)) == [
        (image, n) for image in range(len(lengths)) for n in range(2)
    ]
    found = lengths[images, which].reshape(64, 8)
    assert np.mean(found.max(1) - found.min(1)) < 1 and len(set(found[:8, 0].tolist())) > 4
    later = by_length(5, lengths, 8, 24, 16)
    np.testing.assert_array_equal(later, [images[24:40], which[24:40]])
    assert not np.array_equal(by_length(6, lengths, 8, 0, 16)[0], images[:16])
    again = by_length(5, lengths, 8, lengths.size - 8, 16)  # from one window into the next
    np.testing.assert_array_equal(again[0][:8], images[-8:])


def test_a_corpus_repeats_missing_captions_and_cuts_long_ones():
    training = [[["a", "dog"], ["dog"]], [["a"], ["a", "b"]], [["a"]]]
    corpus = captions.Corpus([[["a"]]], training, min_count=2, max_words=1, where="here")
    assert corpus.vocabulary == ("<end>", "<unknown>", "a", "dog") and corpus.shape == (2, 2)
    assert corpus.rows(0).tolist() == [[2, 0], [2, 0]] and corpus.lengths().tolist() == [[2, 2]]
    whole = captions.Corpus([[[], ["b", "c", "d"]]], training, min_count=1, max_words=9, where="")
    assert whole.lengths().tolist() == [[1, 3]] and whole.rows(0)[0].tolist() == [0, 0, 0]
    assert corpus.notes == () and [note.split()[0] for note in whole.notes] == ["1", "1"]
    assert "more than 2 words" in whole.notes[0] and "no words" in whole.notes[1]
    for broken, fact in (
        ({"sentences": [[]]}, "here: image 0 "),
        ({"min_count": 9}, "here"),
        ({"training": [[["a"]], []]}, "here: image 1 .*train"),
    ):
        given = {"sentences": [[["a"]]], "training": training, "min_count": 1} | broken
        with pytest.raises(ConfigError, match=fact):
            captions.Corpus(**given, max_words=9, where="here")


def test_captions_of_tensorflow_datasets(tmp_path, monkeypatch):
    tiny_tfds.prepare(tmp_path)
    name = "tfds_captions/squares_with_captions"
    config = DataConfig(name=name, dir=str(tmp_path), min_word_count=2)
    train, val = data.load(config, 8), data.load(config, 8, split="val")
    assert train.vocabulary == val.vocabulary and train.held_out == "val"
    assert train.vocabulary[:3] == (*captions.SPECIAL, "number")
    for source in (train, val):
        for index in range(len(source)):
            example = source[index]
            number = round(int(example["image"].mean()) / 40)
            first, second = example["fields"]["captions"]
            known = {*source.vocabulary}
            said = [
                w if w in known else "<unknown>" for w in captions.tokens(tiny_tfds.TEXTS[number])
            ]
            assert captions.words(first, source.vocabulary) == said
            assert captions.words(second, source.vocabulary)[0] == "number"
            assert source.caption_lengths()[index].tolist() == [len(said) + 1, 3]
    monkeypatch.setattr(tfds_captions, "_texts", None)  # not read from the records again
    assert data.load(config, 8).key == train.key
    with pytest.raises(ConfigError, match="train, val"):
        data.load(config, 8, split="test")


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


@pytest.mark.parametrize("buckets", [1, 2])
def test_fields_reach_the_device_from_memory_and_from_a_stream(buckets):
    def batches(resident_bytes):
        data_ = {"resident_bytes": resident_bytes, "workers": 0}
        config = replace(CONFIG, data=data_, train={"length_buckets": buckets})
        source = data.load(config.data, 8)
        pipeline = Pipeline(Feed.of(config, 1), source, Devices())
        for batch in pipeline.batches([(0, 1), (1, 1)]):
            shapes = jax.tree.map(lambda x: (x.shape, x.dtype), (batch, pipeline.abstract(1)))
            assert shapes[0] == shapes[1]
            one = jax.tree.map(lambda x: x[0], batch)
            keys = jax.random.split(jax.random.key(0), (1, 8))
            yield decode(config.data, False, pipeline.data, one, keys)

    for held, streamed in zip(batches(1 << 20), batches(0), strict=True):
        assert held.fields.keys() == {"captions", "boxes"}
        assert held.fields["captions"].shape == (1, 8, 2 if buckets == 1 else 1, 5)
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
