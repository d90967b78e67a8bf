"""Reads what `torch.save` wrote, without PyTorch and without running code in the file.

A `.pth` or `.bin` file is a pickle, and a pickle can call any function by name. This reader
replaces the names that checkpoints of weights and optimizers use by functions and classes of its
own, and refuses all others. Both layouts are read: the zip archive, and the older row of pickles.
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
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_SCALARS = ("f4", "f8", "i4", "i8", "b1")
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LIMIT_BYTES = 1 << 30
# Modules that a config beside the weights may hold. Nothing of them is kept.
_INERT = {
    ("torch.nn.modules.activation", "ReLU"),
    ("torch.nn.modules.activation", "LeakyReLU"),
    ("torch.nn.backends.thnn", "_get_thnn_function_backend"),
}


class _Storage(NamedTuple):
    key: str
    dtype: str
    size: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Inert:
    """Stands for an object that is not needed; takes any arguments and any state."""

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _Dtype(_Inert):
    """A type of numpy's."""

    def __init__(self, name: str, *_: Any):
        self.name = str(name)


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    if dtype.name not in _SCALARS:
        raise ValueError(f"a number of type {dtype.name}")
    return np.frombuffer(data, f"<{dtype.name}")[0].item()


# Functions and classes that stand for the names in a file. A pickle may set attributes on what it
# has been given, so functions are wrapped anew for each use.
_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): lambda storage, offset, shape, strides, *_: _Tensor(
        storage, offset, tuple(shape), tuple(strides)
    ),
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("_codecs", "encode"): lambda text, *_: text.encode("latin1"),
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}


class _Unpickler(pickle.Unpickler):
    """Unpickles dicts, lists, numbers and texts with `_Tensor`s inside, and nothing else."""

    def __init__(self, file: Any, path: Path):
        super().__init__(file)
        self._path = path

    def find_class(self, module_name: str, global_name: str) -> Any:
        name = module_name, global_name
        if name in _GLOBALS:
            found = _GLOBALS[name]
            return found if isinstance(found, type) else lambda *args: found(*args)
        if name in _INERT:
            return _Inert
        if module_name == "torch" and global_name in _DTYPES:
            return _DTYPES[global_name]
        raise ConfigError(
            f"{self._path}: a pickle that names {module_name}.{global_name}, which a file of "
            "weights does not need; refused, nothing was run"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or dtype not in _DTYPES.values() or view not in ([], [None]):
            raise ConfigError(f"{self._path}: a {kind!r} of no known kind inside; refused")
        return _Storage(str(key), dtype, int(size))


def load(path: Path) -> Any:
    """Returns what was saved: dicts, lists, numbers and texts, with numpy arrays for tensors.

    Raises: ConfigError if the file is damaged or none of `torch.save`, or names anything that is
      not needed to hold weights, optimizers and settings.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(2) == b"PK"
        return _of_zip(path) if is_zip else _of_pickles(path)
    except (ConfigError, MemoryError):
        raise
    except Exception as error:  # a damaged pickle raises many types of error
        raise ConfigError(
            f"{path}: damaged or truncated, or not a file of torch.save "
            f"({type(error).__name__}: {error})".replace("\n", " ")
        ) from error


def tensors(path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of a state dict, or of the entry `state_dict` of what was saved.

    Raises: ConfigError as `load`, or if there is no dict.
    """
    return state_dict(load(path), path)


def state_dict(tree: Any, path: Path) -> dict[str, np.ndarray]:
    """Returns the tensors of what `load` returned. Raises: ConfigError if it is no dict."""
    if isinstance(tree, dict) and isinstance(tree.get("state_dict"), dict):
        tree = tree["state_dict"]
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: holds a {type(tree).__name__}; needed: a state dict")
    return {str(name): value for name, value in tree.items() if isinstance(value, np.ndarray)}


def _of_zip(path: Path) -> Any:
    """Reads the zip archive that `torch.save` writes since PyTorch 1.6."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        found = [name for name in names if name.endswith("data.pkl")]
        if not found:
            raise ConfigError(f"{path}: a zip archive, but not a PyTorch file; refused")
        root = found[0][: -len("data.pkl")]
        if any(info.file_size > _LIMIT_BYTES for info in archive.infolist()):
            raise ConfigError(f"{path}: an entry of more than {_LIMIT_BYTES} bytes; refused")
        if f"{root}byteorder" in names:
            order = archive.read(f"{root}byteorder")
            if order != b"little":
                raise ConfigError(f"{path}: tensors are {order!r} endian; known: little")
        tree = _Unpickler(io.BytesIO(archive.read(f"{root}data.pkl")), path).load()

        def read(storage: _Storage) -> np.ndarray:
            return np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.dtype)

        return _filled(tree, read, path)


def _of_pickles(path: Path) -> Any:
    """Reads the older layout: several pickles, then the storages."""
    with path.open("rb") as file:
        if _Unpickler(file, path).load() != _LEGACY_MAGIC:
            raise ConfigError(f"{path}: a pickle, but not a PyTorch file; refused")
        for _ in ("protocol version", "system information"):
            _Unpickler(file, path).load()
        tree = _Unpickler(file, path).load()
        keys = _Unpickler(file, path).load()
        dtypes: dict[str, str] = {}
        _mapped(tree, lambda tensor, _: dtypes.update({tensor.storage.key: tensor.storage.dtype}))
        storages = {}
        for key in map(str, keys):
            (size,) = struct.unpack("<q", file.read(8))
            dtype = np.dtype(dtypes[key])
            if not 0 <= size * dtype.itemsize <= _LIMIT_BYTES:
                raise ConfigError(f"{path}: a tensor of {size} elements; refused")
            storages[key] = np.frombuffer(file.read(size * dtype.itemsize), dtype, size)
        return _filled(tree, lambda storage: storages[storage.key], path)


def _mapped(tree: Any, change: Callable[[_Tensor, str], Any], name: str = "") -> Any:
    """Returns the tree with change(tensor, key) in the place of tensors."""
    if isinstance(tree, _Tensor):
        return change(tree, name)
    if isinstance(tree, dict):
        return {key: _mapped(value, change, str(key)) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_mapped(value, change, name) for value in tree]
    return tree


def _filled(tree: Any, read: Callable[[_Storage], np.ndarray], path: Path) -> Any:
    """Returns the tree with arrays in the place of tensors."""

    def array(tensor: _Tensor, name: str) -> np.ndarray:
        flat = read(tensor.storage)
        last = tensor.offset + sum(
            (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
        )
        numbers = (tensor.offset, *tensor.shape, *tensor.strides)
        if min(numbers) < 0 or (0 not in tensor.shape and last >= len(flat)):
            raise ConfigError(f"{path}: tensor {name!r} reaches outside its data; damaged file")
        steps = [stride * flat.itemsize for stride in tensor.strides]
        return np.lib.stride_tricks.as_strided(
            flat[tensor.offset :], tensor.shape, steps, writeable=False
        )

    return _mapped(tree, array)
