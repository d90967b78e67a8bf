"""BLEU, pointing, and the scores of a run."""

import math

import numpy as np
import pytest

from sagan.tasks.captioning.bleu import corpus_bleu
from sagan.tasks.captioning.sampler import Captions
from sagan.tasks.captioning.scores import pointing


def test_bleu_of_a_short_caption():
    found = corpus_bleu(["a b c".split()], [["a b c d e".split()]], brevity=True)
    np.testing.assert_allclose(found[:3], 100 * math.exp(1 - 5 / 3))
    assert found[3] == 0  # it has no four words
    assert corpus_bleu(["a b c".split()], [["a b c d e".split()]], brevity=False)[0] == 100


def test_repeated_words_count_as_often_as_in_a_reference():
    found = corpus_bleu(["the the the".split()], [["the cat".split(), "the the".split()]],
                        brevity=False)  # fmt: skip
    np.testing.assert_allclose(found[0], 100 * 2 / 3)


def test_bleu_equals_that_of_other_programs():
    """Numbers of nltk 3.10.4 and sacrebleu 2.6.0 (words as they are, no smoothing), which agree."""
    rng = np.random.default_rng(0)

    def sentence(least):
        return [str(word) for word in rng.integers(0, 6, rng.integers(least, 12))]

    candidates = [sentence(4) for _ in range(50)]
    references = [[sentence(8) for _ in range(3)] for _ in candidates]
    usual, paper = (corpus_bleu(candidates, references, brevity=b) for b in (True, False))
    np.testing.assert_allclose(usual, [72.917387, 52.259005, 27.500035, 12.05665], atol=1e-6)
    # Without sacrebleu's brevity penalty of 0.8433054369738667.
    np.testing.assert_allclose(paper, [86.466165, 61.969249, 32.609816, 14.296895], atol=1e-6)


def test_pointing_counts_words_whose_box_holds_the_maximum():
    maps = np.zeros((3, 4, 4), np.float32)
    maps[0, 0, 0] = 1  # of a word without a box
    maps[1, 1, 1], maps[1, 3, 3] = 0.75, 0.25  # inside
    maps[2, 3, 3] = 1  # outside
    found = Captions(["a one nine"], [["a", "one", "nine"]], [maps], [0.0])
    boxes = np.array([[[0, 0, 4, 4], [0, 0, 4, 4], [-1] * 4]])
    assert pointing(found, boxes, ("one", "nine"), 8) == (0.5, 0.375)
    only_one = boxes[:, :1]  # the second word names nothing
    assert pointing(found, only_one, ("one", "nine"), 8) == (0.5, 0.375)
    assert pointing(found, boxes, ("two",), 8) == (0.0, 0.0)
    flat = found._replace(attention=[np.full_like(maps, 1 / 16) for maps in found.attention])
    accuracy, mass = pointing(flat, boxes, ("one", "nine"), 8)
    assert accuracy == mass == pytest.approx(0.25)
