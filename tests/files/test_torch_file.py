"""Files of torch.save that are read without torch, and what in them is refused."""

import pickle

import pytest

from sagan.config import ConfigError
from sagan.files import torch_file

MAGIC = 0x1950A86A20F9469CFC6C


class Stored:
    def __init__(self, *pid):
        self.pid = pid


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Stored) else None


def test_a_part_of_a_storage_in_the_older_layout_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "old.pth"
    for view, known in ((None, True), (("1", 2, 2), False)):
        tree = {"a": Stored("storage", torch.FloatStorage, "0", "cpu", 4, view)}
        with path.open("wb") as file:
            for part in (MAGIC, 1001, {}, tree, []):
                Pickler(file, protocol=2).dump(part)
        if known:
            assert "a" in torch_file.load(path)
        else:
            with pytest.raises(ConfigError, match=r"old\.pth.*refused"):
                torch_file.load(path)
