"""Reads weights of the FID Inception network from several kinds of file into one form.

The kind is recognised by content, not by name: the frozen graph (`.pb`, or the `.tgz` that it is
distributed in), the `.pth` of pytorch-fid and torch-fidelity (both formats of `torch.save`), and
an `.npz` with `layer/kernel` (HWIO, batch norm folded in) and `layer/bias`.

Every layer becomes one float32 kernel and one bias; batch norm is folded into them in float64.
That arithmetic gives the same bits on all machines, so the same weights have the same hash,
whether they come from the official graph, the official `.pth`, or an `.npz` made from either.
Other weights, or fewer layers, have another hash.
"""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.evaluation.features.fid_inception import frozen_graph
from sagan.files import torch_file

Layers = dict[str, dict[str, np.ndarray]]

_EPSILON = np.float32(1e-3)  # of batch norm; a graph stores its own, a .pth does not


def read(path: Path) -> Layers:
    """Reads a file of weights: `{layer: {"kernel": ..., "bias": ...}}`, batch norm folded in.

    Raises: ConfigError if there is no such file, or if it is not of a known kind, is damaged, or
      is a pickle that would run code.
    """
    require(path.is_file(), f"weights {str(path)!r}: no such file")
    try:
        raw = _read(path)
    except ConfigError:
        raise
    except Exception as error:  # parsers raise many types of error on damaged files
        raise ConfigError(
            f"weights {str(path)!r}: damaged or truncated, or none of .pb, .tgz, .pth, .npz "
            f"({type(error).__name__}: {error})".replace("\n", " ")
        ) from error
    require(bool(raw), f"weights {str(path)!r}: no layer of the FID Inception network inside")
    return {name: _folded(arrays) for name, arrays in raw.items()}


def _read(path: Path) -> Layers:
    with path.open("rb") as file:
        start = file.read(262)
    if start[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            is_torch = any(name.endswith("data.pkl") for name in archive.namelist())
        return _from_torch(torch_file.tensors(path)) if is_torch else _from_npz(path)
    if start[:2] == b"\x1f\x8b" or start[257:262] == b"ustar":
        return frozen_graph.layers(frozen_graph.from_archive(path))
    if start[:1] == b"\x80":
        return _from_torch(torch_file.tensors(path))
    return frozen_graph.layers(path.read_bytes())


def _from_npz(path: Path) -> Layers:
    found: Layers = {}
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        for key in arrays.files:
            layer, _, part = key.rpartition("/")
            if part in ("kernel", "bias"):
                found.setdefault(layer, {})[part] = arrays[key]
    return found


def _from_torch(tensors: Mapping[str, np.ndarray]) -> Layers:
    found: Layers = {}
    for torch_name, layer in _torch_names().items():
        if f"{torch_name}.conv.weight" in tensors:
            found[layer] = {
                "kernel": tensors[f"{torch_name}.conv.weight"].transpose(2, 3, 1, 0),
                "gamma": tensors[f"{torch_name}.bn.weight"],
                "beta": tensors[f"{torch_name}.bn.bias"],
                "moving_mean": tensors[f"{torch_name}.bn.running_mean"],
                "moving_variance": tensors[f"{torch_name}.bn.running_var"],
            }
    if "fc.weight" in tensors:
        found["softmax"] = {"kernel": tensors["fc.weight"].T, "bias": tensors["fc.bias"]}
    return found


def _folded(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Folds batch norm into the kernel and a bias, in float64, and rounds once."""
    kernel = np.asarray(arrays["kernel"], np.float64)
    if "bias" in arrays:
        bias = np.asarray(arrays["bias"], np.float64)
    else:
        epsilon = np.float64(arrays.get("epsilon", _EPSILON))
        scale = 1 / np.sqrt(np.asarray(arrays["moving_variance"], np.float64) + epsilon)
        if "gamma" in arrays:
            scale = scale * np.asarray(arrays["gamma"], np.float64)
        kernel = kernel * scale
        bias = np.asarray(arrays["beta"], np.float64) - arrays["moving_mean"] * scale
    return {
        "kernel": np.ascontiguousarray(kernel, np.float32),
        "bias": np.ascontiguousarray(bias, np.float32),
    }


def sha256(layers: Layers) -> str:
    """Returns a hash of names, shapes and values, independent of the order of layers."""
    digest = hashlib.sha256()
    for name in sorted(layers):
        for part in ("kernel", "bias"):
            array = layers[name][part]
            digest.update(f"{name}/{part}{array.shape}".encode())
            digest.update(array.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def mismatch(layers: Layers, needed: Mapping[str, Mapping]) -> str | None:
    """Describes the first layer of another shape than `needed`; None if there is none.

    Layers that are absent are passed over.
    """
    for name, parts in needed.items():
        for part in ("kernel", "bias"):
            wanted = parts[part]
            if name in layers and layers[name][part].shape != wanted.shape:
                got = layers[name][part].shape
                return f"{name}/{part} is {got}; the FID Inception network's is {wanted.shape}"
    return None


def _torch_names() -> dict[str, str]:
    """Maps torchvision's names of modules to ours, which are the graph's with _ for /."""
    stem = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    names: dict[str, str] = dict(
        zip(stem, ("conv", "conv_1", "conv_2", "conv_3", "conv_4"), strict=True)
    )
    blocks = ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c")
    for i, block in enumerate(blocks):
        ours = f"mixed_{i}" if i else "mixed"
        for branch, layer in _branches(block).items():
            names[f"Mixed_{block}.{branch}"] = f"{ours}_{layer}"
    return names


def _branches(block: str) -> dict[str, str]:
    first, last = {"branch1x1": "conv"}, {"branch_pool": "tower_2_conv"}
    if block.startswith("5"):
        return first | _chain("branch5x5", "tower", 2) | _chain("branch3x3dbl", "tower_1", 3) | last
    if block == "6a":
        return {"branch3x3": "conv"} | _chain("branch3x3dbl", "tower", 3)
    if block.startswith("6"):
        return first | _chain("branch7x7", "tower", 3) | _chain("branch7x7dbl", "tower_1", 5) | last
    if block == "7a":
        return _chain("branch3x3", "tower", 2) | _chain("branch7x7x3", "tower_1", 4)
    crossed = {
        "branch3x3_2a": "tower_mixed_conv",
        "branch3x3_2b": "tower_mixed_conv_1",
        "branch3x3dbl_3a": "tower_1_mixed_conv",
        "branch3x3dbl_3b": "tower_1_mixed_conv_1",
    }
    single, double = _chain("branch3x3", "tower", 1), _chain("branch3x3dbl", "tower_1", 2)
    return first | single | double | crossed | last


def _chain(branch: str, tower: str, length: int) -> dict[str, str]:
    later = {f"{branch}_{i + 1}": f"{tower}_conv_{i}" for i in range(1, length)}
    return {f"{branch}_1": f"{tower}_conv"} | later
