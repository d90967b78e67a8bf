"""Independent implementations that ours are compared with."""

import types
import warnings
from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def peer() -> Callable[[str], types.ModuleType]:
    """Imports a module of torch-fidelity, pytorch-fid or prdc, or skips the test.

    The first two import torchvision, which their metric functions never touch. Where its compiled
    operators do not fit the installed torch, those it registers shapes for are declared first.
    """
    keep = []

    def load(module: str) -> types.ModuleType:
        if not module.startswith("prdc"):
            torch = pytest.importorskip("torch")
            library = torch.library.Library("torchvision", "FRAGMENT")
            keep.append(library)
            for name in ("nms", "qnms"):
                if not hasattr(torch.ops.torchvision, name):
                    library.define(f"{name}(Tensor dets, Tensor scores, float threshold) -> Tensor")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pytest.importorskip(module)

    return load
