"""Reads the constants of a frozen TensorFlow graph without TensorFlow."""

import tarfile
from pathlib import Path

import numpy as np

from sagan.config import ConfigError

_MEMBER = "classify_image_graph_def.pb"
_LIMIT_BYTES = 1 << 30  # the true graph has 96 MB
_FLOAT = 1  # DT_FLOAT


def from_archive(path: Path) -> bytes:
    """Reads the graph from `inception-2015-12-05.tgz` into memory.

    Raises: ConfigError if the archive has no graph, or one larger than 1 GiB.
    """
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and member.name.removeprefix("./") == _MEMBER:
                if member.size > _LIMIT_BYTES:
                    raise ConfigError(f"{path}: {_MEMBER} claims {member.size} bytes; refused")
                file = archive.extractfile(member)
                assert file is not None
                return file.read()
    raise ConfigError(f"{path} is an archive without {_MEMBER}")


def layers(data: bytes) -> dict[str, dict[str, np.ndarray]]:
    """Returns each layer's arrays: `kernel` and those of batch norm, or `bias` for the last layer.

    Raises: google.protobuf.message.DecodeError if `data` is not a graph.
    """
    from tensorboard.compat.proto import graph_pb2

    graph = graph_pb2.GraphDef()  # type: ignore[attr-defined]
    graph.ParseFromString(data)
    nodes = {node.name: node for node in graph.node}
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in nodes:
        if not name.endswith("/conv2d_params"):
            continue
        layer = name.removesuffix("/conv2d_params")
        arrays = {"kernel": _constant(nodes[name])}
        for part in ("beta", "gamma", "moving_mean", "moving_variance"):
            constant = nodes.get(f"{layer}/batchnorm/{part}")
            if constant is not None:
                arrays[part] = _constant(constant)
        norm = nodes.get(f"{layer}/batchnorm")
        if norm is not None and "scale_after_normalization" in norm.attr:
            if not norm.attr["scale_after_normalization"].b:
                arrays.pop("gamma", None)
            arrays["epsilon"] = np.asarray(norm.attr["variance_epsilon"].f, np.float32)
        found[layer.replace("/", "_")] = arrays
    if "softmax/weights" in nodes and "softmax/biases" in nodes:
        found["softmax"] = {
            "kernel": _constant(nodes["softmax/weights"]),
            "bias": _constant(nodes["softmax/biases"]),
        }
    return found


def _constant(node) -> np.ndarray:
    tensor = node.attr["value"].tensor
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if node.op != "Const" or tensor.dtype != _FLOAT:
        raise ConfigError(f"graph node {node.name!r} is not a float32 constant")
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, "<f4").reshape(shape)
    values = np.array(tensor.float_val, np.float32)
    return np.broadcast_to(values, shape) if len(values) == 1 else values.reshape(shape)
