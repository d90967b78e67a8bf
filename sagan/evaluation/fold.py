"""One pass over images: features of each batch, folded into the state of every metric at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np

from sagan.evaluation.features import Extractor
from sagan.evaluation.metrics import Batch, Metric, Spec, State
from sagan.evaluation.requirements import require_classifier_of, require_outputs
from sagan.files.progress import Progress
from sagan.parallel import arrays, processes

_FLUSH_IMAGES = 4096  # folded at a time, because each update copies the state
S = TypeVar("S")


@runtime_checkable
class Images(Protocol):
    """Images of one size that can be read by position, labelled or not.

    Attributes:
      num_classes: None if there are no classes; else labels are in [0, num_classes).
    """

    num_classes: int | None

    def __len__(self) -> int: ...

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns uint8 (n, S, S, 3) and int (n,) or None, in the order of `indices`."""
        ...


Watcher = Callable[[np.ndarray, np.ndarray, np.ndarray | None], None]


class _Read(NamedTuple):
    """The features of one batch, with positions and labels."""

    features: Mapping[str, np.ndarray]
    indices: np.ndarray
    labels: np.ndarray | None


def fold(
    images: Images,
    metrics: Sequence[Metric],
    extractor: Extractor,
    *,
    batch_size: int,
    progress: str,
    process: int | None = None,
    num_processes: int | None = None,
    seen: Watcher | None = None,
) -> dict[str, State]:
    """Folds every `num_processes`-th batch of the images, beginning with batch `process`.

    Args:
      batch_size: images per call of the network, on each local device.
      progress: what the progress line says is being done.
      process, num_processes: None: those of this job.
      seen: called with positions, pixels and labels of each batch.

    Returns: states by `Metric.state_name`.

    Raises: ConfigError if the network lacks an output, or predicts other classes.
    """
    process = processes.index() if process is None else process
    num_processes = processes.count() if num_processes is None else num_processes
    require_outputs(extractor, metrics)
    require_classifier_of(images.num_classes, extractor, metrics)
    by_state = {metric.state_name: metric for metric in metrics}
    outputs = sorted({metric.output for metric in metrics})
    states = {
        name: m.accumulator.init(Spec(extractor.widths[m.output], len(images), images.num_classes))
        for name, m in by_state.items()
    }
    waiting: list[_Read] = []
    line = Progress(progress, len(images), enabled=process == 0)
    batch_size *= jax.local_device_count()
    stride = batch_size * num_processes
    for first in range(batch_size * process, len(images), stride):
        indices = np.arange(first, min(first + batch_size, len(images)))
        pixels, labels = images.read(indices)
        if seen is not None:
            seen(indices, pixels, labels)
        if outputs:
            waiting.append(_Read(extractor(pixels, outputs), indices, labels))
        if sum(len(read.indices) for read in waiting) >= _FLUSH_IMAGES:
            states = _updated(states, by_state, waiting)
            waiting.clear()
        line.update(min(first + stride, len(images)))
    if waiting:
        states = _updated(states, by_state, waiting)
    line.close()
    return states


def _updated(
    states: Mapping[str, State], by_state: Mapping[str, Metric], reads: Sequence[_Read]
) -> dict[str, State]:
    indices = np.concatenate([read.indices for read in reads])
    labels = [read.labels for read in reads if read.labels is not None]
    joined = np.concatenate(labels) if labels else None
    updated = {}
    for name, metric in by_state.items():
        features = np.concatenate([read.features[metric.output] for read in reads])
        updated[name] = metric.accumulator.update(states[name], Batch(features, indices, joined))
    return updated


def merged_states(states: Mapping[str, State], metrics: Sequence[Metric]) -> dict[str, State]:
    """Merges states by name over all processes; every process gets the same bits."""
    merges = {metric.state_name: metric.accumulator.merge for metric in metrics}
    return {name: merged(state, merges[name]) for name, state in states.items()}


def merged(state: S, merge: Callable[[S, S], S]) -> S:
    """Merges one state over all processes; every process gets the same bits.

    States are sent one at a time, so that no process holds more than two beside its own.
    """
    if processes.count() == 1:
        return state
    total = arrays.broadcast(state, source=0)
    for source in range(1, processes.count()):
        total = merge(total, arrays.broadcast(state, source))
    return total
