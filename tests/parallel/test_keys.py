"""A key depends on its index in the whole batch and on its stream, on nothing else."""

import jax
import numpy as np

from sagan.parallel.keys import AUGMENT, LABEL, PENALTY, index_keys, of_stream


def data(keys):
    return np.asarray(jax.random.key_data(keys))


def test_parts_of_a_batch_have_the_keys_of_the_whole():
    key = jax.random.key(3)
    whole = data(index_keys(key, 0, 12))
    parts = [data(index_keys(key, begin, 4)) for begin in (0, 4, 8)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert len(np.unique(whole, axis=0)) == 12


def test_streams_share_no_key():
    keys = index_keys(jax.random.key(3), 0, 5)
    streams = [data(keys), *(data(of_stream(keys, s)) for s in (LABEL, PENALTY, AUGMENT))]
    assert len(np.unique(np.concatenate(streams), axis=0)) == 20
    np.testing.assert_array_equal(
        streams[3], data(index_keys(jax.random.key(3), 0, 5, stream=AUGMENT))
    )
