"""The order of a run's images, or of its captions: a function of the seed and the position alone.

Position p of a run is element `p % N` of the permutation of epoch `p // N`, for N images.
"""

import functools

import numpy as np
from jaxtyping import Int

_WINDOW = 64  # batches whose captions are sorted by length together


def order(seed: int, num_images: int, first: int, count: int) -> Int[np.ndarray, " count"]:
    """Returns the image at each of the positions `first … first + count - 1` of a run."""
    positions = np.arange(first, first + count)
    epochs, offsets = np.divmod(positions, num_images)
    images = np.empty(count, np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        images[chosen] = _permutation(seed, int(epoch), num_images)[offsets[chosen]]
    return images


@functools.lru_cache(maxsize=3)
def _permutation(seed: int, epoch: int, num_images: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(num_images)


def by_length(
    seed: int, lengths: Int[np.ndarray, "N C"], batch_size: int, first: int, count: int
) -> tuple[Int[np.ndarray, " count"], Int[np.ndarray, " count"]]:
    """Returns the image and the number of its caption at some positions of a run.

    In an epoch every caption comes once. The captions of 64 batches are sorted by length, so that a
    batch has captions of similar length, and these batches are then shuffled.

    Args:
      lengths: words of each caption of each image.
      first, count: of the positions; batches begin at multiples of `batch_size`.
    """
    size = _WINDOW * batch_size
    begin = first // size
    windows = range(begin, -(-(first + count) // size))
    pairs = np.concatenate([_window(seed, lengths, batch_size, n) for n in windows])
    images, captions = np.divmod(pairs, lengths.shape[1])
    where = slice(first - begin * size, first - begin * size + count)
    return images[where], captions[where]


def _window(seed: int, lengths: np.ndarray, batch_size: int, number: int) -> np.ndarray:
    size = _WINDOW * batch_size
    pairs = order(seed, lengths.size, number * size, size)
    pairs = pairs[np.argsort(lengths.ravel()[pairs], kind="stable")].reshape(_WINDOW, batch_size)
    return pairs[np.random.default_rng((seed, number)).permutation(_WINDOW)].ravel()
