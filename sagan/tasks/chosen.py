"""Which images a call asks for: by class and number, or by label and index.

Samplers of every task take the same arguments, and check them here.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.tasks import classes as class_lib

_SUM_TOLERANCE = 1e-3  # of weights of classes, which should add up to 1
_Labels = Int[np.ndarray, " N"] | None


def images(
    class_names: Sequence[str],
    classes: Sequence[str | int] | str | int | None = None,
    num: int | None = None,
    labels_: ArrayLike | None = None,
    indices: ArrayLike | None = None,
) -> tuple[_Labels, Int[np.ndarray, " N"]]:
    """Returns label (None if unconditional) and index of each image that is asked for.

    Args:
      class_names: of the model; empty if it is unconditional.
      classes, num: `num` images of each class; without classes, `num` images of all in turn.
      labels_, indices: exactly these images, in place of classes and num.

    Raises: ConfigError for arguments that do not fit the model or one another.
    """
    if labels_ is None and indices is None:
        return _some_of(class_names, classes, num)
    require(
        classes is None and num is None,
        "classes and num choose images, and so do labels and indices; allowed: one pair",
    )
    found = labels(class_names, labels_)
    if indices is None:
        assert found is not None  # else `labels` had raised, or both were None
        return found, np.arange(len(found))
    numbers = whole_numbers(indices, "indices", 2**32)
    if found is not None:
        require_as_many(found, "labels", numbers, "indices")
    return found, numbers


def _some_of(
    class_names: Sequence[str], classes: Sequence[str | int] | str | int | None, num: int | None
) -> tuple[_Labels, Int[np.ndarray, " N"]]:
    count = 1 if num is None else num
    require(is_whole(count) and count >= 1, f"num={num!r}; allowed: whole numbers >= 1")
    if classes is not None:
        wanted = [classes] if isinstance(classes, (str, int)) else list(classes)
        found = class_lib.find(class_names, wanted)
        return np.repeat(np.array(found, np.int32), count), np.tile(np.arange(count), len(found))
    indices = np.arange(count)
    if not class_names:
        return None, indices
    return (indices % len(class_names)).astype(np.int32), indices


def labels(class_names: Sequence[str], given: ArrayLike | None, *, weights: bool = False) -> Any:
    """Returns checked labels, int32 (N,); None if the model is unconditional.

    Args:
      weights: also allow weights of the classes, and return them as float32 (N, K).

    Raises: ConfigError for labels that do not fit the model.
    """
    count = len(class_names)
    if not count:
        require(given is None, "labels were given, but this model is unconditional")
        return None
    if given is None:
        raise ConfigError(
            f"labels=None, but this model has {count} classes; allowed: numbers "
            f"0 … {count - 1} (see class_names)"
        )
    array = np.asarray(given)
    if weights and array.ndim == 2 and array.dtype.kind == "f":
        return _checked_weights(array, count)
    return whole_numbers(array, "labels", count).astype(np.int32)


def is_whole(value: Any) -> bool:
    """Returns whether a value is a whole number, of Python's or NumPy's."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def whole_numbers(values: ArrayLike, name: str, limit: int) -> Int[np.ndarray, " N"]:
    """Returns an array (N,). Raises: ConfigError unless all are whole and in [0, limit)."""
    array = np.asarray(values)
    allowed = f"allowed: whole numbers 0 … {limit - 1}"
    require(array.ndim == 1, f"{name} have shape {array.shape}; allowed: (N,)")
    if not array.size:
        return np.zeros(0, np.int64)
    require(array.dtype.kind in "iu", f"{name} are {array.dtype} ({array[0]!r}, …); {allowed}")
    wrong = array[(array < 0) | (array >= limit)]
    require(not wrong.size, f"{name} have {wrong[:1].tolist()}; {allowed}")
    return array.astype(np.int64)


def _checked_weights(weights: np.ndarray, count: int) -> Float[np.ndarray, "N K"]:
    require(
        weights.shape[1] == count,
        f"labels have shape {weights.shape}; allowed: (N,), or weights of classes (N, {count})",
    )
    sums = np.abs(weights.sum(1) - 1)
    require(
        bool((weights >= 0).all() and (sums <= _SUM_TOLERANCE).all()),
        "labels are weights of classes that are negative or do not add up to 1 in each row",
    )
    return weights.astype(np.float32)


def require_as_many(a: np.ndarray, a_name: str, b: np.ndarray, b_name: str) -> None:
    """Raises: ConfigError unless two arrays are equally long."""
    require(len(a) == len(b), f"{len(a)} {a_name} and {len(b)} {b_name}; allowed: as many of both")
