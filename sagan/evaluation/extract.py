"""One pass over images: features of each batch, folded into every metric's state at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation import metrics as metrics_lib
from sagan.evaluation.features import Extractor
from sagan.evaluation.metrics import Batch, Metric, Spec, State
from sagan.files.progress import Progress

_CLASSIFIER_OUTPUT = "classifier_logits"  # one per class, in the order of the labels
_FLUSH_IMAGES = 4096  # folded at a time: a state of sums is rewritten whole at each update


@runtime_checkable
class Images(Protocol):
    """Images of one size that can be had by position, labelled or not.

    Attributes:
      num_classes: None if there are no classes; else labels are 0 … num_classes - 1.
    """

    num_classes: int | None

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns uint8 (n, S, S, 3) and int (n,) or None, in the order of `indices`."""
        ...


class Share(NamedTuple):
    """Which of several processes this is; each takes every `count`-th batch."""

    index: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> "Share":
        import jax

        return cls(jax.process_index(), jax.process_count())


def check_outputs(extractor: Extractor, metrics: Sequence[Metric]) -> None:
    """Raises: ConfigError if the network does not give what a metric reads."""
    for metric in metrics:
        if metric.OUTPUT in extractor.widths and metric.OUTPUT not in extractor.missing:
            continue
        reason = extractor.missing.get(metric.OUTPUT, f"{extractor.name} has no such output")
        known = [metrics_lib.find([name])[0] for name in metrics_lib.names()]
        able = [m.NAME for m in known if m.OUTPUT in extractor.widths]
        raise ConfigError(
            f"metric {metric.NAME} needs features {metric.OUTPUT!r}: {reason}; "
            f"metrics that --features {extractor.name} can serve here: {', '.join(able) or 'none'}"
        )


def check_classes(extractor: Extractor, metrics: Sequence[Metric], num_classes: int | None) -> None:
    """Raises: ConfigError if classes are compared with those of a classifier that has others."""
    known = extractor.widths.get(_CLASSIFIER_OUTPUT)
    for metric in metrics:
        if metric.USES_LABELS and metric.OUTPUT == _CLASSIFIER_OUTPUT:
            require(
                num_classes in (None, known),
                f"metric {metric.NAME}: the images have {num_classes} classes, those of "
                f"--features {extractor.name} are {known}; allowed: the same on both sides",
            )


def fold(
    images: Images,
    metrics: Sequence[Metric],
    extractor: Extractor,
    *,
    batch_size: int,
    progress: str,
    share: Share,
    seen: Callable[[np.ndarray, np.ndarray, np.ndarray | None], None] | None = None,
) -> dict[str, State]:
    """Folds this process's share of the images into one state per accumulator and output.

    Args:
      progress: what the progress line says is being done.
      seen: called with positions, pixels and labels of each batch.

    Returns: states by `metrics.state_name`.
    """
    check_outputs(extractor, metrics)
    check_classes(extractor, metrics, images.num_classes)
    folders = {metrics_lib.state_name(metric): metric for metric in metrics}
    outputs = sorted({metric.OUTPUT for metric in metrics})
    states = {
        name: m.init(Spec(extractor.widths[m.OUTPUT], len(images), images.num_classes))
        for name, m in folders.items()
    }
    waiting: list[tuple[Mapping[str, np.ndarray], np.ndarray, np.ndarray | None]] = []

    def flush() -> None:
        if not waiting:
            return
        indices = np.concatenate([part[1] for part in waiting])
        labels = [part[2] for part in waiting if part[2] is not None]
        joined = np.concatenate(labels) if labels else None
        for name, metric in folders.items():
            features = np.concatenate([part[0][metric.OUTPUT] for part in waiting])
            states[name] = metric.update(states[name], Batch(features, indices, joined))
        waiting.clear()

    line = Progress(progress, len(images), enabled=share.index == 0)
    stride = batch_size * share.count
    for first in range(batch_size * share.index, len(images), stride):
        indices = np.arange(first, min(first + batch_size, len(images)))
        pixels, labels = images.read(indices)
        if seen is not None:
            seen(indices, pixels, labels)
        if outputs:
            waiting.append((extractor(pixels, outputs), indices, labels))
        if sum(len(part[1]) for part in waiting) >= _FLUSH_IMAGES:
            flush()
        line.update(min(first + stride, len(images)))
    flush()
    line.close()
    return states


def merged(state: State, merge: Callable[[State, State], State], share: Share) -> State:
    """Merges one state over all processes; every process gets the same bits.

    States travel one at a time, so that no process ever holds more than two.
    """
    if share.count == 1:
        return state
    total = None
    for sender in range(share.count):
        fields = [_broadcast(np.asarray(field), sender, share) for field in state]
        received = type(state)(*fields)
        total = received if total is None else merge(total, received)
    return total


def everywhere(flags: Sequence[bool], share: Share) -> list[bool]:
    """Says of each flag whether it is set in all processes, so that all go the same way."""
    if share.count == 1:
        return list(flags)
    from jax.experimental import multihost_utils

    gathered = np.asarray(multihost_utils.process_allgather(np.array(flags, np.int32)))
    return np.atleast_1d(gathered.reshape(share.count, -1).all(axis=0)).tolist()


def _broadcast(field: np.ndarray, sender: int, share: Share) -> np.ndarray:
    """Sends an array of any dtype and shape as bytes, since float64 would be cut to float32."""
    from jax.experimental import multihost_utils

    # With a 1 behind it, since a scalar's shape is empty.
    shapes = multihost_utils.process_allgather(np.array((*field.shape, 1), np.int32))
    shape = tuple(int(n) for n in np.asarray(shapes).reshape(share.count, -1)[sender, :-1])
    mine = share.index == sender
    data = np.ascontiguousarray(field) if mine else np.zeros(shape, field.dtype)
    sent = multihost_utils.broadcast_one_to_all(
        np.frombuffer(data.tobytes(), np.uint8), is_source=mine
    )
    return np.frombuffer(np.asarray(sent).tobytes(), field.dtype).reshape(shape)
