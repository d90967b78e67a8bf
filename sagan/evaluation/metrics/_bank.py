"""The accumulator that keeps every feature vector, for metrics that compare images one by one."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from sagan.evaluation.metrics import Accumulator, Batch, Spec

NO_LABEL = -1


class State(NamedTuple):
    """Features in any order, with each image's position and class (-1 if it has none)."""

    features: Float32[np.ndarray, "N F"]
    indices: Int64[np.ndarray, " N"]
    labels: Int64[np.ndarray, " N"]


def _init(spec: Spec) -> State:
    none = np.zeros(0, np.int64)
    return State(np.zeros((0, spec.width), np.float32), none, none.copy())


def _update(state: State, batch: Batch) -> State:
    labels = np.full(len(batch.indices), NO_LABEL) if batch.labels is None else batch.labels
    return _merge(
        state, State(batch.features, batch.indices.astype(np.int64), labels.astype(np.int64))
    )


def _merge(a: State, b: State) -> State:
    return State(*(np.concatenate(pair) for pair in zip(a, b, strict=True)))


BANK = Accumulator("bank", State, _init, _update, _merge)


def ordered(state: State) -> State:
    """Sorts by position, so that results do not depend on which process computed which batch."""
    order = np.argsort(state.indices, kind="stable")
    return State(*(field[order] for field in state))
