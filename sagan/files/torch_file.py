"""Reads the tensors of a PyTorch state dict without PyTorch and without running code in the file.

A `.pth` file is a pickle, and a pickle can call any function by name. This reader replaces the
five names that a state dict uses by functions of its own, and refuses all others.
"""

import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sagan.config import ConfigError

_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
}
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LIMIT_BYTES = 1 << 30


class _Storage(NamedTuple):
    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Unpickles dicts of `_Tensor`s, and nothing else."""

    def __init__(self, file: Any, path: Path):
        super().__init__(file)
        self._path = path

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module_name, global_name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A new function each time, since a pickle may set attributes on it.
            return lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, tuple(shape), tuple(strides)
            )
        if module_name == "torch" and global_name in _DTYPES:
            return _DTYPES[global_name]
        raise ConfigError(
            f"{self._path}: a pickle that names {module_name}.{global_name}, which a file of "
            "weights does not need; refused, nothing was run"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size = pid[:5]
        if kind != "storage" or dtype not in _DTYPES.values():
            raise ConfigError(f"{self._path}: a pickle with a {kind!r} inside; refused")
        return _Storage(str(key), dtype, int(size))


def tensors_of_zip(path: Path) -> dict[str, np.ndarray]:
    """Reads a file in the zip format that `torch.save` writes since PyTorch 1.6."""
    with zipfile.ZipFile(path) as archive:
        root = next(n for n in archive.namelist() if n.endswith("data.pkl"))[: -len("data.pkl")]
        if any(info.file_size > _LIMIT_BYTES for info in archive.infolist()):
            raise ConfigError(f"{path}: an entry of more than {_LIMIT_BYTES} bytes; refused")
        if f"{root}byteorder" in archive.namelist():
            order = archive.read(f"{root}byteorder")
            if order != b"little":
                raise ConfigError(f"{path}: tensors are {order!r} endian; known: little")
        tree = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl")), path).load()

        def read(storage: _Storage) -> np.ndarray:
            return np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype)

        return _resolve(tree, read, path)


def tensors_of_legacy(path: Path) -> dict[str, np.ndarray]:
    """Reads a file in the older format: several pickles, then the storages."""
    with path.open("rb") as file:
        if _Unpickler(file, path).load() != _LEGACY_MAGIC:
            raise ConfigError(f"{path}: a pickle, but not a PyTorch file; refused")
        for _ in ("protocol version", "system information"):
            _Unpickler(file, path).load()
        tree = _Unpickler(file, path).load()
        keys = _Unpickler(file, path).load()
        dtypes = {t.storage.key: t.storage.dtype for t in _tensors(tree, path).values()}
        storages = {}
        for key in keys:
            (size,) = struct.unpack("<q", file.read(8))
            dtype = np.dtype(dtypes[str(key)])
            if not 0 <= size * dtype.itemsize <= _LIMIT_BYTES:
                raise ConfigError(f"{path}: a tensor of {size} elements; refused")
            storages[str(key)] = np.frombuffer(file.read(size * dtype.itemsize), dtype)
        return _resolve(tree, lambda storage: storages[storage.key], path)


def _tensors(tree: Any, path: Path) -> dict[str, _Tensor]:
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds a {type(tree).__name__}; needed: a state dict")
    return {str(name): value for name, value in tree.items() if isinstance(value, _Tensor)}


def _resolve(
    tree: Any, read: Callable[[_Storage], np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    found = {}
    for name, tensor in _tensors(tree, path).items():
        flat = read(tensor.storage)
        last = tensor.offset + sum(
            (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        numbers = (tensor.offset, *tensor.shape, *tensor.strides)
        if min(numbers) < 0 or (0 not in tensor.shape and last >= len(flat)):
            raise ConfigError(f"{path}: tensor {name!r} reaches outside its data; damaged file")
        steps = [stride * flat.itemsize for stride in tensor.strides]
        found[name] = np.lib.stride_tricks.as_strided(
            flat[tensor.offset :], tensor.shape, steps, writeable=False
        )
    return found
