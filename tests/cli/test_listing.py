"""What the command line says about itself: presets and fields."""

import re

import pytest

from sagan import cli
from sagan.config import as_json, presets


def test_help_lists_the_presets(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    for name, about in presets.abouts().items():
        assert re.search(rf"^  {name} +{re.escape(about)}$", out, re.MULTILINE) and len(about) > 20
    assert "sagan config" in out


def test_config_lists_every_field_with_meaning_default_and_limits(capsys):
    assert cli.main(["config", "debug", "train.steps=7"]) == 0
    out = capsys.readouterr().out
    keys = [key for key, _ in as_json.leaves(presets.preset("debug"))]
    assert re.findall(r"^  ([\w.]+)=", out, re.MULTILINE) == keys
    assert "  train.steps=7  (an int, >= 1; default 100000)\n      Number of training steps" in out
    assert "train: How long to train" in out
    assert cli.main(["config"]) == 0
    assert "train.steps=100000  (an int, >= 1)\n" in capsys.readouterr().out
