"""`sagan import` refuses what it cannot take whole, and writes nothing then."""

import os
from pathlib import Path

import pytest
from support import peers

from sagan import cli


@pytest.fixture(scope="module")
def state():
    torch = pytest.importorskip("torch")
    g = peers.BigganPytorch(shared=False)
    g.gen(torch.zeros(4, 6), torch.arange(4))
    return torch, g.state


def truncated(torch, state, path):
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[:-2000])


def truncated_older(torch, state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-2000])


def renamed(torch, state, path):
    other = {key.replace("2.0.conv1.weight", "2.0.conv9.weight"): x for key, x in state.items()}
    torch.save(other, path)


def reshaped(torch, state, path):
    torch.save(state | {"blocks.1.0.conv2.bias": torch.zeros(5)}, path)


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def running(torch, state, path):
    torch.save(state | {"extra": Runs(path.with_name("ran"))}, path)


def running_older(torch, state, path):
    tree = state | {"extra": Runs(path.with_name("ran"))}
    torch.save(tree, path, _use_new_zipfile_serialization=False)


def of_another(torch, state, path):
    torch.save({"linear0.weight": torch.zeros(3), "blocks.0.0.conv2d1.bias": torch.zeros(3)}, path)


def no_weights(torch, state, path):
    torch.save([1, 2], path)


@pytest.mark.parametrize(
    ("harm", "facts"),
    [
        (truncated, ["G.pth", "truncated"]),
        (truncated_older, ["G.pth", "truncated"]),
        (renamed, ["blocks.2.0.conv9.weight", "block3/conv1/kernel"]),
        (reshaped, ["blocks.1.0.conv2.bias", "(5,)", "(16,)"]),
        (running, ["mkdir", "nothing was run"]),
        (running_older, ["mkdir", "nothing was run"]),
        (of_another, ["studiogan"]),
        (no_weights, ["list"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_harmed_file_is_an_error_and_nothing_is_written(state, tmp_path, capsys, harm, facts):
    file = tmp_path / "G.pth"
    harm(*state, file)
    out = tmp_path / "out"
    assert cli.main(["import", "biggan_pytorch", str(file), "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert all(fact in told for fact in facts), told
    assert os.listdir(tmp_path) == ["G.pth"]


def test_what_the_files_leave_open_can_be_said(state, tmp_path, capsys):
    torch, arrays = state
    torch.save(arrays, tmp_path / "G.pth")
    words = ["import", "biggan_pytorch", str(tmp_path / "G.pth"), "--out", str(tmp_path / "out")]
    assert cli.main([*words, "model.batch_norm_epsilon=0.001"]) == 0
    assert '"batch_norm_epsilon": 0.001' in (tmp_path / "out" / "config.json").read_text()
    assert "linear.weight" in capsys.readouterr().out
    assert cli.main(words) == 2  # there is something already
    words[1] = "biggan"
    assert cli.main(words[:-1] + [str(Path(words[-1]) / "new")]) == 2
    assert "biggan_pytorch" in capsys.readouterr().err
