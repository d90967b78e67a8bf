"""Metrics: rows of tables, found by listing this folder.

Each public file holds a tuple `METRICS` of one or more `Metric`; so may a module of yours, given by
its dotted name. A metric reads one output of a feature network, and folds the features of many
images into a state, which is a NamedTuple of numpy arrays:

    state = metric.accumulator.init(Spec(width, num_images, num_classes))
    state = metric.accumulator.update(state, Batch(features, indices, labels))  # in any order
    state = metric.accumulator.merge(state, another)              # two states of disjoint images
    values = metric.compute(fake, real)                           # {"": 10.3, "sd": 0.1}

Real and generated images are folded by the same functions, so a cached reference is simply the
state of the real images. Metrics with the same accumulator and output share one state. Nothing in
this folder imports jax.

Files: `frechet` (all Fréchet distances), `inception_score` (all scores of that formula), `kid`,
`neighbours` (precision, recall, density, coverage), `class_accuracy`.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Integer

from sagan.config import ConfigError, plugins
from sagan.config.fields import closest

State = Any  # a NamedTuple of numpy arrays; its type is `Accumulator.state`


class Spec(NamedTuple):
    """What a state will see: feature width, number of images, number of classes if labelled."""

    width: int
    num_images: int
    num_classes: int | None = None


class Batch(NamedTuple):
    """Features of some of the images, their positions in [0, num_images), and their classes."""

    features: Float32[np.ndarray, "B F"]
    indices: Integer[np.ndarray, " B"]
    labels: Int[np.ndarray, " B"] | None = None


class Accumulator(NamedTuple):
    """How features are folded into a state. Accumulators with equal names must be the same."""

    name: str
    state: type  # a NamedTuple class whose fields are numpy arrays
    init: Callable[[Spec], State]
    update: Callable[[State, Batch], State]  # returns a new state
    merge: Callable[[State, State], State]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric.

    Attributes:
      name: what users type and what results are keyed by. Metrics whose values are not comparable
        have different names.
      output: the output of the feature network that it reads.
      accumulator: how features are folded.
      compute: takes the states of both sides, `(fake, real)`, and returns values by part; the main
        value has the key "". `real` is None if `uses_real` is false.
      min_images: the fewest images, on each side that is used, for which `compute` is defined.
      uses_real: whether `compute` reads the state of the real images.
      uses_labels: whether images must come with classes.
      higher_is_better: whether the better of two main values is the larger one.
      biased_below_rank: whether values are biased upwards if a side has no more images than there
        are features, so that covariances lack rank. A warning then goes with the score.
    """

    name: str
    output: str
    accumulator: Accumulator
    compute: Callable[..., dict[str, float]]
    min_images: int
    higher_is_better: bool
    uses_real: bool = False
    uses_labels: bool = False
    biased_below_rank: bool = False

    @property
    def state_name(self) -> str:
        """Returns the name of the state, such as `pool.moments`; equal names share a state."""
        return f"{self.output}.{self.accumulator.name}"


@functools.cache
def _ours() -> Mapping[str, Metric]:
    found: dict[str, Metric] = {}
    for file in plugins.names("metrics"):
        for metric in _rows(file):
            if metric.name in found:
                raise ValueError(f"two metrics of {__name__} are named {metric.name!r}")
            found[metric.name] = metric
    return found


def _rows(module_name: str) -> tuple[Metric, ...]:
    """Returns the metrics of a file in this folder, or of a module outside."""
    module = plugins.load("metrics", module_name, field="metrics")
    rows = getattr(module, "METRICS", ())
    if not rows or not all(isinstance(row, Metric) for row in rows):
        raise ConfigError(
            f"metrics={module_name!r}: the module has no tuple METRICS of sagan.evaluation.metrics"
            ".Metric"
        )
    return tuple(rows)


def names() -> list[str]:
    """Returns the names of all metrics in this folder, sorted."""
    return sorted(_ours())


def find(wanted: Sequence[str]) -> list[Metric]:
    """Returns the metrics of these names, each once, in the order given.

    A name is that of a metric, or of a module, which stands for all metrics in it.

    Raises: ConfigError for an unknown name, a module without metrics, or no name at all.
    """
    if not wanted:
        raise ConfigError(f"no metrics asked for; known: {', '.join(names())}")
    found: dict[str, Metric] = {}
    for name in wanted:
        rows = (_ours()[name],) if name in _ours() else _outside(name)
        found |= {metric.name: metric for metric in rows}
    return list(found.values())


def _outside(name: str) -> tuple[Metric, ...]:
    try:
        return _rows(name)
    except ConfigError as error:
        if "." in name:
            raise
        raise ConfigError(
            f"unknown metric {name!r}{closest(name, names())}; "
            f"known: {', '.join(names())}, or a module of yours"
        ) from error
