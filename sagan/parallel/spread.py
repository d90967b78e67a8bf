"""Runs a network over the devices of this process, in batches of one compiled size."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Array

from sagan.config import ConfigError
from sagan.parallel.devices import Devices

Prepare = Callable[[Array], Array]
Forward = Callable[[dict, Array, tuple[str, ...]], dict[str, Array]]

_IMAGES_PER_DEVICE = 64


class Spread:
    """Computes outputs of images: splits each batch over this process's devices.

    All batches are padded to one size, so that the network is compiled once. This size is that of
    the largest batch so far, rounded up to a multiple of the number of devices, and at most
    `batch_size`. Larger batches are computed in parts.

    Args:
      prepare: images -> input of the network; compiled for every image size.
      forward: (params, input, outputs) -> outputs by name. Rows must be independent in both
        functions. Pass functions of a module: compiled programs are kept for each function.
      params: copied to every device once.
      batch_size: most images at a time, over all devices; None: 64 per device.
    """

    def __init__(
        self, prepare: Prepare, forward: Forward, params: dict, batch_size: int | None = None
    ):
        self._devices = _local_devices()
        self._largest = self._rounded_up(batch_size or _IMAGES_PER_DEVICE * self._devices.count)
        self._size = 0
        self._params = self._devices.replicate(params)
        self._prepare, self._forward = prepare, forward

    def __call__(self, images: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns host arrays by name, with rows in the order of `images`."""
        self._size = max(self._size, min(self._rounded_up(len(images)), self._largest))
        prepare = _compiled_prepare(self._prepare)
        forward = _compiled_forward(self._forward, tuple(sorted(set(outputs))))
        parts, running = [], None
        for start in range(0, len(images), self._size):
            part = self._devices.shard(self._padded(images[start:]), 0)
            # Two parts in flight keep the devices busy; more would only take memory.
            previous, running = running, forward(self._params, prepare(part))
            if previous is not None:
                parts.append(jax.device_get(previous))
        parts.append(jax.device_get(running))
        return {
            name: np.concatenate([part[name] for part in parts])[: len(images)] for name in outputs
        }

    def _rounded_up(self, size: int) -> int:
        count = self._devices.count
        return max(1, -(-size // count)) * count

    def _padded(self, images: np.ndarray) -> np.ndarray:
        part = images[: self._size]
        missing = self._size - len(part)
        return np.pad(part, [(0, missing)] + [(0, 0)] * (part.ndim - 1)) if missing else part


@functools.cache
def _local_devices() -> Devices:
    return Devices(devices=jax.local_devices())


@functools.cache
def _compiled_prepare(prepare: Prepare) -> Callable:
    return _local_devices().compile_rows(prepare, 0)


@functools.cache
def _compiled_forward(forward: Forward, outputs: tuple[str, ...]) -> Callable:
    return _local_devices().compile_rows(
        lambda params, prepared: forward(params, prepared, outputs), 1
    )


def check_call(
    images: np.ndarray,
    outputs: Sequence[str],
    widths: Mapping[str, int],
    missing: Mapping[str, str],
) -> None:
    """Checks the arguments of an extractor's call.

    Args:
      widths: number of features of each output that the network has.
      missing: why an output cannot be computed, for those that need a file that is absent.

    Raises:
      ConfigError: an output is missing.
      ValueError: an output is unknown, or the images are not uint8 (B, H, W, 3).
    """
    for name in outputs:
        if name in missing:
            raise ConfigError(f"features {name!r} cannot be computed: {missing[name]}")
        if name not in widths:
            raise ValueError(f"output {name!r} is unknown; known: {', '.join(widths)}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not len(images):
        raise ValueError(
            f"images are {images.dtype} {images.shape}; needed: uint8 (B, H, W, 3), B >= 1. "
            "Grey images: repeat the one channel three times"
        )
