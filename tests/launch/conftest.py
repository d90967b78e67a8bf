"""What the launch tests share: presets of their own, and `sagan launch` as a function."""

import argparse
import textwrap

import pytest

from sagan.cli import launch as launch_cli
from sagan.config import presets
from sagan.launch import planning

_PRESET = """
    from sagan.config import Config, GanTrainConfig

    def get_config():
        return Config(name="{name}", train=GanTrainConfig(batch_size={batch}, steps=6))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current directory, and two presets: `digits`, `big_one`."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, batch in (("digits", 64), ("big_one", 256)):
        text = textwrap.dedent(_PRESET.format(name=name, batch=batch))
        (folder / f"{name}.py").write_text(text)
    monkeypatch.setattr(presets, "preset_folder", lambda: folder)
    current = tmp_path / "here"
    current.mkdir()
    monkeypatch.chdir(current)
    return current


def _parse(*words):
    parser = argparse.ArgumentParser()
    launch_cli.register(parser.add_subparsers(required=True))
    return parser.parse_args(["launch", *words])


@pytest.fixture
def run_launch(here):
    """`sagan launch ...`: returns its status."""

    def run(*words):
        args = _parse(*words)
        return args.run(args)

    return run


@pytest.fixture
def plan(here):
    """The plan of `sagan launch ...`, nothing started."""
    return lambda *words: planning.plan_for(_parse(*words))
