"""Names of scores, and the classes that are drawn for generated images."""

import numpy as np
import pytest

from sagan.evaluation import protocol


@pytest.mark.parametrize(
    "name, number, part, resizer, expected",
    [
        ("fid", 50_000, "", "tf", "fid50k"),
        ("fid", 10_000, "", "tf", "fid10k"),
        ("fid", 2000, "", "tf", "fid2000"),
        ("pr", 50_000, "precision", "tf", "pr50k_precision"),
        ("fid_768", 2000, "", "tf", "fid_768_2000"),
        ("fid", 50_000, "", "clean", "clean_fid50k"),
    ],
)
def test_keys(name, number, part, resizer, expected):
    assert protocol.key(name, number, part, resizer=resizer) == expected


@pytest.mark.parametrize("counts", [[10, 10, 10], [100, 30, 1]])
def test_labels_are_as_frequent_as_real_ones_and_well_mixed(counts):
    labels = protocol.balanced_labels(1000, counts, seed=3)
    exact = 1000 * np.array(counts) / np.sum(counts)
    assert np.abs(np.bincount(labels, minlength=3) - exact).max() < 1
    assert np.abs(np.bincount(labels[:500], minlength=3) - exact / 2).max() < 40
    np.testing.assert_array_equal(labels, protocol.balanced_labels(1000, counts, seed=3))
    assert (labels != protocol.balanced_labels(1000, counts, seed=4)).any()
