"""Measures how fast torch-fidelity's Inception network runs here, to compare with ours:

sagan bench --parts features --beside "python tests/support/peer_features.py"

64 images of 32 px at a time; random weights, since speed does not depend on them. The last line
is JSON.
"""

import contextlib
import importlib.util
import json
import statistics
import time
from pathlib import Path
from unittest import mock

import torch

BATCH, REPEATS = 64, 5


def declare_operators():
    """Lets torchvision load even if its compiled operators do not, which no network here uses.

    Its Python code registers shapes for two operators, which must be declared first.
    Returns: an object to keep for as long as torchvision is used.
    """
    found = importlib.util.find_spec("torchvision")
    for path in Path(found.origin).parent.glob("_C*.so") if found else ():
        # Operators that were built for another kind of torch, such as CUDA's, do not load.
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(path))
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def network():
    from torch_fidelity import feature_extractor_inceptionv3 as module

    with (
        mock.patch.object(module, "load_state_dict_from_url", lambda *_, **__: {}),
        mock.patch.object(torch.nn.Module, "load_state_dict", lambda *_, **__: None),
    ):
        return module.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])


def main():
    library = declare_operators()
    extractor = network()
    images = torch.randint(0, 256, (BATCH, 3, 32, 32), dtype=torch.uint8)
    seconds = []
    with torch.no_grad():
        for _ in range(1 + REPEATS):
            begin = time.perf_counter()
            (found,) = extractor(images)
            seconds.append(time.perf_counter() - begin)
            assert found.shape == (BATCH, 2048)
    del library
    print(json.dumps({"images_per_second": BATCH / statistics.median(seconds[1:])}))


if __name__ == "__main__":
    main()
