"""A plug-in: KID with subsets that 500 images suffice for (`--metrics support.small_kid`)."""

import dataclasses
import functools

from sagan.evaluation.metrics import find

SUBSET_SIZE = 250
(KID,) = find(["kid"])
METRICS = (
    dataclasses.replace(
        KID,
        compute=functools.partial(KID.compute, subset_size=SUBSET_SIZE),
        min_images=SUBSET_SIZE,
    ),
)
