"""Sends host arrays from one process to all."""

import json
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from sagan.parallel import processes


def broadcast(tree: Any, source: int = 0) -> Any:
    """Returns the arrays of process `source` in all processes, bit for bit.

    All processes must call this, in the same order, with trees of the same structure. Only the
    arrays of `source` are read; those of the others may have other shapes and dtypes. Arrays
    travel as bytes, because JAX would round float64 to float32.

    Args:
      tree: a pytree of numpy arrays.
    """
    if processes.count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.asarray(leaf) for leaf in leaves]
    about = json.dumps([(leaf.dtype.str, leaf.shape) for leaf in leaves]).encode()
    described = json.loads(_broadcast_bytes(about, source))
    received = [
        np.frombuffer(_broadcast_bytes(leaf.tobytes(), source), dtype).reshape(shape)
        for leaf, (dtype, shape) in zip(leaves, described, strict=True)
    ]
    return jax.tree.unflatten(structure, received)


def _broadcast_bytes(mine: bytes, source: int) -> bytes:
    is_source = processes.index() == source
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(mine)), is_source=is_source))
    data = np.frombuffer(mine, np.uint8) if is_source else np.zeros(size, np.uint8)
    sent = multihost_utils.broadcast_one_to_all(data, is_source=is_source)
    return np.asarray(sent).tobytes()
