"""Runs a network over the local devices, in batches of one compiled size."""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from sagan.config import ConfigError

Prepare = Callable[[Array], Array]
Forward = Callable[[dict, Array, tuple[str, ...]], dict[str, Array]]

_SHARED, _SPLIT = PartitionSpec(), PartitionSpec("data")


class Spread:
    """Maps images to outputs: splits the batch over this process's devices, and joins it again.

    Every batch is padded to one size, so that the network is compiled once. That size is the
    largest batch seen, up to `batch_size`, and a multiple of the number of devices; what is
    larger is worked through in parts.

    Attributes:
      prepare: images -> what the network reads; compiled anew for every image size.
      forward: (params, prepared, outputs) -> outputs; both with rows independent, both functions
        of a module, since what is compiled for them is kept with them.
      params: held once on every device.
      batch_size: most images at a time, over all devices; None: 64 a device.
    """

    def __init__(
        self, prepare: Prepare, forward: Forward, params: dict, batch_size: int | None = None
    ):
        self._devices = tuple(jax.local_devices())
        self._limit = self._whole(batch_size or 64 * len(self._devices))
        self._compiled = 0
        mesh = _mesh(self._devices)
        self._images = NamedSharding(mesh, _SPLIT)
        self._params = jax.device_put(params, NamedSharding(mesh, _SHARED))
        self._prepare, self._forward = prepare, forward

    def __call__(self, images: np.ndarray, outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Returns host arrays, rows as in `images`."""
        self._compiled = max(self._compiled, min(self._whole(len(images)), self._limit))
        prepare = _mapped_prepare(self._prepare, self._devices)
        forward = _mapped_forward(self._forward, tuple(sorted(set(outputs))), self._devices)
        parts, running = [], None
        for start in range(0, len(images), self._compiled):
            part = jax.device_put(self._padded(images[start:]), self._images)
            # Two parts under way keep the devices busy; more would only hold memory.
            last, running = running, forward(self._params, prepare(part))
            if last is not None:
                parts.append(jax.device_get(last))
        parts.append(jax.device_get(running))
        return {
            name: np.concatenate([part[name] for part in parts])[: len(images)] for name in outputs
        }

    def _whole(self, size: int) -> int:
        return max(1, -(-size // len(self._devices))) * len(self._devices)

    def _padded(self, images: np.ndarray) -> np.ndarray:
        part = images[: self._compiled]
        short = self._compiled - len(part)
        return np.pad(part, [(0, short)] + [(0, 0)] * (part.ndim - 1)) if short else part


@functools.cache
def _mesh(devices: tuple) -> Mesh:
    return Mesh(np.array(devices), ("data",))


@functools.cache
def _mapped_prepare(prepare: Prepare, devices: tuple) -> Callable:
    return jax.jit(
        jax.shard_map(
            prepare, mesh=_mesh(devices), in_specs=_SPLIT, out_specs=_SPLIT, check_vma=False
        )
    )


@functools.cache
def _mapped_forward(forward: Forward, outputs: tuple[str, ...], devices: tuple) -> Callable:
    return jax.jit(
        jax.shard_map(
            lambda params, prepared: forward(params, prepared, outputs),
            mesh=_mesh(devices),
            in_specs=(_SHARED, _SPLIT),
            out_specs=_SPLIT,
            check_vma=False,
        )
    )


def check_call(
    images: np.ndarray,
    outputs: Sequence[str],
    widths: Mapping[str, int],
    missing: Mapping[str, str],
) -> None:
    """Raises: ConfigError, ValueError as `Extractor.__call__` says."""
    for name in outputs:
        if name in missing:
            raise ConfigError(f"features {name!r} are not to be had: {missing[name]}")
        if name not in widths:
            raise ValueError(f"output {name!r} is unknown; known: {', '.join(widths)}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or not len(images):
        raise ValueError(
            f"images are {images.dtype} {images.shape}; needed: uint8 (B, H, W, 3), B >= 1. "
            "Grey images: repeat the one channel three times"
        )
