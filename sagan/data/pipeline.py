"""From a source to batches: order, shares, augmentation, and how they reach the devices.

The order is a function of (seed, position) alone: position p of the whole run is element
`p % N` of the permutation of epoch `p // N`. Step, update and element give the position, so
resuming needs no iterator state and any number of processes reads the same global batches.
"""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from sagan import data
from sagan.config import Config
from sagan.data import Source, decoded, unreadable
from sagan.parallel.devices import Devices


class Batch(NamedTuple):
    """Real images in [-1, 1], and their labels (None if unconditional)."""

    image: Float[Array, "*lead S S 3"]
    label: Int[Array, "*lead"] | None


@functools.lru_cache(maxsize=3)
def _permutation(seed: int, epoch: int, num_images: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(num_images)


def order(seed: int, num_images: int, first: int, count: int) -> Int[np.ndarray, " count"]:
    """Gives the image at each of the positions `first … first + count - 1` of a run."""
    positions = np.arange(first, first + count)
    epochs, offsets = np.divmod(positions, num_images)
    images = np.empty(count, np.int64)
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        images[chosen] = _permutation(seed, int(epoch), num_images)[offsets[chosen]]
    return images


class _Share:
    """The part of each dispatch's batches that one process reads."""

    def __init__(self, config: Config, num_images: int, steps: int, begin: int, end: int):
        self._config, self.num_images = config, num_images
        self._steps, self._begin, self._end = steps, begin, end

    def indices(self, step: int) -> Int[np.ndarray, "steps updates B"]:
        """Gives this process's images for the `steps` generator updates that start at `step`."""
        train = self._config.train
        per_step = train.d_steps_per_g_step * train.batch_size
        images = order(self._config.seed, self.num_images, step * per_step, self._steps * per_step)
        images = images.reshape(*self.shape[:-1], train.batch_size)
        return images[..., self._begin : self._end].astype(np.int32)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Steps, updates, and this process's part of a batch."""
        return self._steps, self._config.train.d_steps_per_g_step, self._end - self._begin


class _Reader(_Share):
    """Reads a share's images; picklable, so that it can run in worker processes.

    With a batch's images and labels comes what its worker has found to be unreadable (`bad`).
    """

    _source: unreadable.Tolerant | None = None

    def __call__(self, dispatch: int) -> dict[str, np.ndarray]:
        if self._source is None:
            source = data.load(self._config.data, self._config.model.image_size)
            self._source = unreadable.Tolerant(source)
        indices = self.indices(dispatch * self._steps)
        images, labels = data.read(self._source, indices.ravel())
        decoded.check_labels(self._source, labels)
        images = images.reshape(*indices.shape, *images.shape[1:])
        bad = unreadable.pack(self._source.bad)
        return {"image": images, "label": labels.reshape(indices.shape), "bad": bad}


class Pipeline:
    """Feeds a training program.

    Attributes:
      data: what the program takes once: the whole set, on every device; or nothing.

    Args:
      config: resolved.
      source: its images; sets of up to `data.resident_bytes` live on the devices, larger ones
        are read by worker processes.
      devices: that the batches are spread over.
      steps: generator updates in one dispatch.
    """

    BATCH_AXIS = 2  # behind steps and discriminator updates

    def __init__(self, config: Config, source: Source, devices: Devices, steps: int):
        each = config.train.batch_size // devices.count
        begin = devices.first * each
        arguments = (config, len(source), steps, begin, begin + each * devices.local_count)
        self._config, self._devices, self._steps = config, devices, steps
        self._share, self._reader = _Share(*arguments), _Reader(*arguments)
        source = decoded.hold(config, source)
        self.resident = isinstance(source, decoded.Held)
        self.data: Any = ()
        if isinstance(source, decoded.Held):
            whole = {"image": source.images, "label": source.labels}
            self.data = devices.replicate(whole)

    def abstract(self) -> Any:
        """Gives shapes, dtypes and shardings of what `batches` yields."""
        shape, size = self._share.shape, self._config.model.image_size
        parts = {"label": jax.ShapeDtypeStruct(shape, np.int32)}
        if self.resident:
            parts = {"index": parts["label"]}
        else:
            parts["image"] = jax.ShapeDtypeStruct((*shape, size, size, 3), np.uint8)
        return {k: self._devices.abstract_shard(x, self.BATCH_AXIS) for k, x in parts.items()}

    def batches(self, step: int) -> Iterator[Any]:
        """Yields what each dispatch takes, from `step` (a multiple of the steps in one) on.

        Raises: ConfigError when too many of the images that were read are bad.
        """
        if self.resident:
            while True:
                yield self._devices.shard({"index": self._share.indices(step)}, self.BATCH_AXIS)
                step += self._steps
        last = self._config.train.steps // self._steps
        known: dict[int, str] = {}
        for batch in _stream(self._reader, step // self._steps, last, self._config.data.workers):
            found = unreadable.unpack(batch.pop("bad"))
            unreadable.report(found, self._reader.num_images, known)
            known |= found
            unreadable.require_few(known, self._reader.num_images)
            yield self._devices.shard(batch, self.BATCH_AXIS)


def _stream(reader: _Reader, first: int, last: int, workers: int) -> Iterator[Any]:
    """Reads dispatches `first … last - 1` in order, ahead of time, in worker processes."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["sagan"])  # grain's workers read absl's flags
    dispatches = grain.MapDataset.range(first, last).map(reader)
    dataset = dispatches.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    if workers:
        dataset = dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=workers))
    iterator = iter(dataset)
    try:
        yield from iterator
    finally:
        if hasattr(iterator, "close"):
            iterator.close()


def decode(config: Config, whole: Any, batch: Any, keys: Key[Array, "updates B"]) -> Batch:
    """Makes images in [-1, 1] of a device's batch, inside the compiled program.

    Args:
      whole: the pipeline's `data`.
      batch: one step's part of what `batches` yields, (updates, B, …).
      keys: one per image, (updates, B); augmentation draws from them alone.
    """
    if "index" in batch:
        images, labels = whole["image"][batch["index"]], whole["label"][batch["index"]]
    else:
        images, labels = batch["image"], batch["label"]
    if config.data.flip or config.data.shift_px:
        images = jax.vmap(jax.vmap(functools.partial(_augment, config)))(images, keys)
    image = images.astype(jnp.float32) * (2 / 255) - 1
    return Batch(image, None if config.model.num_classes is None else labels)


def _augment(
    config: Config, image: UInt8[Array, "S S 3"], key: Key[Array, ""]
) -> UInt8[Array, "S S 3"]:
    flip_key, shift_key = jax.random.split(key)
    if config.data.flip:
        image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
    if config.data.shift_px:
        shift = config.data.shift_px
        padded = jnp.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode="edge")
        y, x = jax.random.randint(shift_key, (2,), 0, 2 * shift + 1)
        image = jax.lax.dynamic_slice(padded, (y, x, 0), image.shape)
    return image
