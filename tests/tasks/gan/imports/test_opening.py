"""What a file holds is sorted into arrays and the rest."""

import pytest

from sagan.config import ConfigError
from sagan.tasks.gan.imports import opening


def test_arrays_are_held_once_and_without_the_prefix_of_several_devices(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"module.b": torch.ones(2), "module.a": torch.zeros(3)}
    torch.save({"state_dict": state, "step": 3}, tmp_path / "G.pth")
    found = opening.read(tmp_path / "G.pth")
    assert [(key, x.shape) for key, x in found.arrays.items()] == [("b", (2,)), ("a", (3,))]
    assert found.others == {"step": 3}


@pytest.mark.parametrize("text", ["[1]", "{"])
def test_settings_that_are_none_are_refused(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match="config.json"):
        opening.read(tmp_path / "config.json")
