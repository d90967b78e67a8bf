"""What the command line says about itself: presets and fields."""

import re

import pytest

from sagan import cli
from sagan.config import Config, TrainConfig, as_json, meanings, presets


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
    default, meaning = TrainConfig().steps, meanings_of("train.steps")
    assert re.search(rf"train\.steps=7 .*>= 1.*default {default}\)\s+{re.escape(meaning)}", out)
    assert cli.main(["config"]) == 0
    assert f"train.steps={default} " in capsys.readouterr().out


def meanings_of(key):
    fields = [field for *_, fields in meanings.sections(Config()) for field in fields]
    (text,) = [field.text for field in fields if field.key == key]
    assert len(text) > 10
    return text
