"""Independent implementations, which the tests hold ours against."""

import sys
import types
import warnings
from collections.abc import Callable

import pytest


@pytest.fixture
def peer() -> Callable[[str], types.ModuleType]:
    """Imports a module of torch-fidelity, pytorch-fid or prdc, or skips the test.

    The first two import torchvision, which their metric functions never touch; where none fits
    the installed torch, empty modules stand in while they are imported.
    """

    def load(module: str) -> types.ModuleType:
        if not module.startswith("prdc"):
            pytest.importorskip("torch")
        with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
            warnings.simplefilter("ignore")
            try:
                import torchvision  # noqa: F401
            except (ImportError, RuntimeError):
                for name, stand_in in _empty_torchvision().items():
                    patch.setitem(sys.modules, name, stand_in)
            return pytest.importorskip(module)

    return load


class _Anything(type):
    """A class that has every attribute, each of them such a class."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


def _empty_torchvision() -> dict[str, types.ModuleType]:
    modules = {}
    for name in ("", ".datasets", ".transforms", ".transforms.functional", ".models"):
        module = types.ModuleType("torchvision" + name)
        module.__path__ = []
        module.__getattr__ = lambda attribute: getattr(_Anything("torchvision", (), {}), attribute)
        modules["torchvision" + name] = module
    return modules
