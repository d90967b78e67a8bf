"""A plug-in with two metrics, as a user would write it: `--metrics support.brightness`."""

from typing import NamedTuple

import numpy as np

from sagan.evaluation.metrics import Accumulator, Metric


class Sums(NamedTuple):
    number: np.ndarray
    total: np.ndarray


def _add(a, b):
    return Sums(a.number + b.number, a.total + b.total)


SUMS = Accumulator(
    name="sums",
    state=Sums,
    init=lambda spec: Sums(np.zeros(()), np.zeros(spec.width)),
    update=lambda state, batch: _add(
        state, Sums(np.array(float(len(batch.features))), batch.features.sum(0))
    ),
    merge=_add,
)


def _row(name, part):
    return Metric(
        name=name,
        output="pool",
        accumulator=SUMS,
        compute=lambda fake, real: {"": float(fake.total[part] / fake.number)},
        min_images=1,
        higher_is_better=True,
    )


METRICS = (_row("brightness", 0), _row("contrast", 1))
