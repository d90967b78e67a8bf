"""From a source to batches on the devices: order, division among processes, augmentation.

The order depends on the seed and the position alone (see `order.py`). Step, update and element
determine the position. So resuming needs no iterator state, and any number of processes reads the
same global batches.
"""

import dataclasses
import functools
import signal
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

from sagan import data
from sagan.config import Config, DataConfig
from sagan.data import Source, captions, decoded, unreadable
from sagan.data.order import by_length, order
from sagan.parallel.devices import Devices


@dataclasses.dataclass(frozen=True, kw_only=True)
class Feed:
    """Settings that fix the batches of a run.

    Attributes:
      seed: seed of the order of images.
      batch_size: images in one global batch.
      batches_per_step: batches that one step takes, one for each update of the discriminator.
      image_size: height and width in pixels.
      data: the config section `data`, with the source and `resident_bytes`.
      sorts_captions: batches hold captions of similar length, one for each image.
    """

    seed: int
    batch_size: int
    batches_per_step: int
    image_size: int
    data: DataConfig
    sorts_captions: bool = False

    @classmethod
    def of(cls, config: Config, batches_per_step: int) -> "Feed":
        """Copies the settings from a run's config."""
        return cls(
            seed=config.seed,
            batch_size=config.train.batch_size,
            batches_per_step=batches_per_step,
            image_size=config.model.image_size,
            data=config.data,
            sorts_captions=getattr(config.train, "length_buckets", 1) > 1,
        )


class Batch(NamedTuple):
    """Real images in [-1, 1], their labels (None if unconditional), and the source's fields."""

    image: Float[Array, "*lead S S 3"]
    label: Int[Array, "*lead"] | None
    fields: Mapping[str, Array] = {}


def dispatch_indices(
    feed: Feed, num_images: int, first_step: int, num_steps: int, part: slice
) -> Int[np.ndarray, "steps batches B"]:
    """Returns the indices of the images that `num_steps` steps from `first_step` on train on.

    Args:
      part: this process's slice of each global batch.
    """
    per_step = feed.batches_per_step * feed.batch_size
    images = order(feed.seed, num_images, first_step * per_step, num_steps * per_step)
    images = images.reshape(num_steps, feed.batches_per_step, feed.batch_size)
    return images[..., part].astype(np.int32)


def _chosen(
    feed: Feed, num_images: int, lengths: np.ndarray | None, dispatch: tuple[int, int], part: slice
) -> dict[str, Int[np.ndarray, "steps batches B"]]:
    """Returns the `index` of each image of a dispatch, and the number of its `caption` if sorted.

    Args:
      lengths: of the captions, (N, C), if batches are sorted by them; else None.
    """
    first, steps = dispatch
    if lengths is None:
        return {"index": dispatch_indices(feed, num_images, first, steps, part)}
    shape = steps, feed.batches_per_step, feed.batch_size
    per_step = shape[1] * shape[2]
    pairs = by_length(feed.seed, lengths, feed.batch_size, first * per_step, steps * per_step)
    index, caption = (x.reshape(shape)[..., part].astype(np.int32) for x in pairs)
    return {"index": index, "caption": caption}


class Pipeline:
    """Brings batches of images to the devices, for a compiled training program.

    Attributes:
      resident: whether the whole set is stored on the devices.
      data: what a resident set holds, which the program gets at each call; else ().

    Args:
      source: the images. Sets of up to `data.resident_bytes` are stored on the devices. Larger ones
        are read by worker processes, each of which opens the source anew.
      devices: the devices over which batches are split.
    """

    BATCH_AXIS = 2  # after steps and the batches of a step

    def __init__(self, feed: Feed, source: Source, devices: Devices):
        per_device = feed.batch_size // devices.count
        begin = devices.first * per_device
        self._part = slice(begin, begin + per_device * devices.local_count)
        self._feed, self._devices, self._num_images = feed, devices, len(source)
        source = decoded.decode_up_to(source, feed.image_size, feed.data.resident_bytes)
        self._fields = dict(data.fields_of(source))
        self._lengths = captions.lengths_of(source) if feed.sorts_captions else None
        if self._lengths is not None:
            (_, words), dtype = self._fields["captions"]
            self._fields["captions"] = (1, words), dtype
        self.resident = isinstance(source, decoded.DecodedSource)
        self.data: Any = ()
        if isinstance(source, decoded.DecodedSource):
            whole = {"image": source.images, "label": source.labels, "fields": source.values}
            self.data = devices.replicate(whole)

    def abstract(self, num_steps: int) -> Any:
        """Returns shapes, dtypes and shardings of what `batches` yields for `num_steps` steps."""
        feed = self._feed
        shape = (num_steps, feed.batches_per_step, self._part.stop - self._part.start)
        if self.resident:
            names = ("index",) if self._lengths is None else ("index", "caption")
            parts = {name: jax.ShapeDtypeStruct(shape, np.int32) for name in names}
        else:
            size = feed.image_size
            parts = {
                "image": jax.ShapeDtypeStruct((*shape, size, size, 3), np.uint8),
                "label": jax.ShapeDtypeStruct(shape, np.int32),
                "fields": {
                    name: jax.ShapeDtypeStruct((*shape, *each), dtype)
                    for name, (each, dtype) in self._fields.items()
                },
            }
        return jax.tree.map(lambda x: self._devices.abstract_shard(x, self.BATCH_AXIS), parts)

    def batches(self, dispatches: Iterable[tuple[int, int]]) -> Iterator[Any]:
        """Yields the batches of each dispatch, with axes (steps, batches of a step, batch, …).

        Args:
          dispatches: (first step, number of steps) of each call of the program, in any order and
            finite: unless the set is resident, it is read to its end before the first batch.

        Raises: ConfigError when too many of the images read so far are unreadable.
        """
        if self.resident:
            for each in dispatches:
                chosen = _chosen(self._feed, self._num_images, self._lengths, each, self._part)
                yield self._devices.shard(chosen, self.BATCH_AXIS)
            return
        reader = _Reader(self._feed, self._num_images, self._lengths, self._part)
        known: dict[int, str] = {}
        for batch in _read_ahead(reader, dispatches, self._feed.data.workers):
            found = unreadable.unpack(batch.pop("bad"))
            unreadable.report(found, self._num_images, known)
            known |= found
            unreadable.require_few(known, self._num_images)
            yield self._devices.shard(batch, self.BATCH_AXIS)


class _Reader:
    """Reads this process's part of a dispatch; picklable, since it runs in worker processes.

    Beside images and labels, it returns the unreadable images that its worker has met (`bad`).
    """

    def __init__(self, feed: Feed, num_images: int, lengths: np.ndarray | None, part: slice):
        self._feed, self._num_images = feed, num_images
        self._lengths, self._part = lengths, part
        self._source: unreadable.Tolerant | None = None  # opened in the worker

    def __call__(self, dispatch: np.ndarray) -> dict[str, Any]:
        if self._source is None:
            source = data.load(self._feed.data, self._feed.image_size, quiet=True)
            self._source = unreadable.Tolerant(source)
        first_step, num_steps = map(int, dispatch)
        size, steps = self._num_images, (first_step, num_steps)
        chosen = _chosen(self._feed, size, self._lengths, steps, self._part)
        indices = chosen["index"]
        images, labels, fields = data.read_all(self._source, indices.ravel())
        decoded.check_labels(self._source, labels)
        fields = {k: x.reshape(*indices.shape, *x.shape[1:]) for k, x in fields.items()}
        if "caption" in chosen:
            which = chosen["caption"][..., None, None]
            fields["captions"] = np.take_along_axis(fields["captions"], which, -2)
        return {
            "image": images.reshape(*indices.shape, *images.shape[1:]),
            "label": labels.reshape(indices.shape),
            "fields": fields,
            "bad": unreadable.pack(self._source.bad),
        }


def _read_ahead(
    reader: _Reader, dispatches: Iterable[tuple[int, int]], workers: int
) -> Iterator[Any]:
    """Reads dispatches in order and ahead of time, in `workers` processes (0: in a thread)."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["sagan"])  # grain's workers read absl's flags
    table: Any = np.fromiter(dispatches, np.dtype((np.int64, 2)))
    dataset = grain.MapDataset.source(table).map(reader)
    dataset = dataset.to_iter_dataset(grain.ReadOptions(num_threads=1, prefetch_buffer_size=2))
    if workers:
        options = grain.MultiprocessingOptions(num_workers=workers)
        dataset = dataset.mp_prefetch(options, worker_init_fn=_ignore_interrupts)
    iterator = iter(dataset)
    try:
        yield from iterator
    finally:
        if hasattr(iterator, "close"):
            iterator.close()


def _ignore_interrupts(*_: int) -> None:
    """Leaves Ctrl-C, which a terminal sends to all processes, to the one that trains and saves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def decode(
    config: DataConfig, labelled: bool, whole: Any, batch: Any, keys: Key[Array, "batches B"]
) -> Batch:
    """Turns a device's batches into images in [-1, 1], inside the compiled program.

    Args:
      labelled: whether the model uses labels.
      whole: the pipeline's `data`.
      batch: one step's part of what `Pipeline.batches` yields, (batches, B, …).
      keys: one per image, (batches, B); random augmentation depends on nothing else.
    """
    if "index" in batch:
        index = batch["index"]
        images, labels = whole["image"][index], whole["label"][index]
        fields = {name: values[index] for name, values in whole.get("fields", {}).items()}
        if "caption" in batch:
            which = batch["caption"][..., None, None]
            fields["captions"] = jnp.take_along_axis(fields["captions"], which, -2)
    else:
        images, labels, fields = batch["image"], batch["label"], batch.get("fields", {})
    if config.flip or config.shift_px:
        images = jax.vmap(jax.vmap(functools.partial(_augment, config)))(images, keys)
    image = images.astype(jnp.float32) * (2 / 255) - 1
    return Batch(image, labels if labelled else None, fields)


def _augment(
    config: DataConfig, image: UInt8[Array, "S S 3"], key: Key[Array, ""]
) -> UInt8[Array, "S S 3"]:
    flip_key, shift_key = jax.random.split(key)
    if config.flip:
        image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
    if config.shift_px:
        shift = config.shift_px
        padded = jnp.pad(image, ((shift, shift), (shift, shift), (0, 0)), mode="edge")
        y, x = jax.random.randint(shift_key, (2,), 0, 2 * shift + 1)
        image = jax.lax.dynamic_slice(padded, (y, x, 0), image.shape)
    return image
