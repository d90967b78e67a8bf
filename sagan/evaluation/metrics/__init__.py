"""Scores of generated images: one file is one metric, found by listing this folder.

A metric is a module (ours, or yours by its dotted name) with the members of `Metric`. It reads one
output of a feature network and folds it into a state, a NamedTuple of numpy arrays:

    state = metric.init(Spec(width, num_images, num_classes))
    state = metric.update(state, Batch(features, indices, labels))   # any batches, any order
    state = metric.merge(state, another)                             # of disjoint images
    values = metric.compute(fake, real)                              # {"": 10.3, "sd": 0.1}

Real and generated images go through the same functions; a cached reference *is* the real state.
Metrics that take `init`, `update` and `merge` from the same accumulator (`_moments`, `_bank`) and
read the same output share one state. Nothing here imports jax.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int, Integer

from sagan.config import ConfigError
from sagan.config import plugins as registry

__all__ = ["Batch", "Metric", "Spec", "State", "find", "names", "state_name"]

State = Any  # a NamedTuple of numpy arrays, the accumulator's own


class Spec(NamedTuple):
    """What a state will see: feature width, number of images, number of classes if labelled."""

    width: int
    num_images: int
    num_classes: int | None = None


class Batch(NamedTuple):
    """Features of some of the images, their positions in 0 .. num_images - 1, their classes."""

    features: Float32[np.ndarray, "B F"]
    indices: Integer[np.ndarray, " B"]
    labels: Int[np.ndarray, " B"] | None = None


@runtime_checkable
class Metric(Protocol):
    """The members of a metric's module."""

    NAME: str  # what users type and results are keyed by; never shared by two protocols
    OUTPUT: str  # the feature network's output that it reads
    USES_REAL: bool  # whether compute looks at the real side
    USES_LABELS: bool  # whether images must come with classes
    HIGHER_IS_BETTER: bool  # of the value keyed ""
    MIN_IMAGES: int  # per side; fewer are refused before any work

    def init(self, spec: Spec) -> State: ...
    def update(self, state: State, batch: Batch) -> State: ...
    def merge(self, a: State, b: State) -> State: ...
    def compute(self, fake: State, real: State | None) -> dict[str, float]: ...


@functools.cache
def _ours() -> Mapping[str, Metric]:
    found = {}
    for file in registry.names("metrics"):
        metric = cast(Metric, registry.load("metrics", file, field="metrics"))
        if metric.NAME in found:
            raise ValueError(f"two files of sagan/metrics are named {metric.NAME!r}")
        found[metric.NAME] = metric
    return found


def names() -> list[str]:
    """Lists the names that `find` knows, sorted."""
    return sorted(_ours())


def find(wanted: Sequence[str]) -> list[Metric]:
    """Returns the metrics of these names, each once, in the order given.

    A name is a metric's own, its file's, or that of a module outside.

    Raises: ConfigError for an unknown name, a module that is no metric, or no name at all.
    """
    if not wanted:
        raise ConfigError(f"no metrics asked for; known: {', '.join(names())}")
    found = {}
    for name in wanted:
        metric = _ours().get(name) or _outside(name)
        found[metric.NAME] = metric
    return list(found.values())


def _outside(name: str) -> Metric:
    try:
        module = registry.load("metrics", name, field="metrics")
    except ConfigError as error:
        if "." in name:
            raise
        raise ConfigError(
            f"unknown metric {name!r}; known: {', '.join(names())}, or a module of yours"
        ) from error
    members = (*Metric.__annotations__, "init", "update", "merge", "compute")
    missing = [member for member in members if not hasattr(module, member)]
    if missing:
        raise ConfigError(f"metrics={name!r}: the module lacks {', '.join(missing)}")
    return cast(Metric, module)


def state_name(metric: Metric) -> str:
    """Names the state a metric folds into, such as `pool.moments`; equal names share a state."""
    accumulator = metric.init.__module__.rpartition(".")[2].lstrip("_")
    return f"{metric.OUTPUT}.{accumulator}"
