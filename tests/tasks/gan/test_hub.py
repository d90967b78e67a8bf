"""A generator goes to the Hugging Face Hub, and comes back."""

import sys

import numpy as np
import pytest
from support import hub

import sagan
from sagan import cli
from sagan.config import ConfigError


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub.stand_in(tmp_path))
    return tmp_path


def test_what_is_published_draws_the_same_bits(workdir, models, capsys):
    assert cli.main(["publish", str(workdir), "hf://me/discs"]) == 0
    assert capsys.readouterr().out == "https://huggingface.co/me/discs\n"
    card = (models / "me" / "discs" / "README.md").read_text()
    assert card.startswith("---\n") and 'sagan.load("hf://me/discs")' in card
    assert '"image_size"' in card and (models / "me" / "discs" / "samples.png").is_file()
    theirs = sagan.load("hf://me/discs@main")
    how = {"classes": ["hue1"], "num": 2, "seed": 5}
    np.testing.assert_array_equal(theirs.sample(**how), sagan.load(workdir).sample(**how))


@pytest.mark.parametrize(
    ("url", "fact"),
    [
        ("hf://me", "hf://USER/NAME"),
        ("hf://others/discs", "403"),
        ("hf://down/discs", "no route"),
        ("hf://me/x@v1", "revision"),
    ],
)
def test_what_cannot_be_published(workdir, models, capsys, url, fact):
    assert cli.main(["publish", str(workdir), url]) == 2
    assert fact in capsys.readouterr().err


def test_an_address_is_refused_before_the_run_is_opened(models, tmp_path, monkeypatch, capsys):
    words = ["publish", str(tmp_path / "absent"), "hf://me/x@v1"]
    assert cli.main(words) == 2 and "revision" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert cli.main([*words[:2], "hf://me/x"]) == 2
    assert "sagan[hub]" in capsys.readouterr().err


def test_what_cannot_be_loaded(models, monkeypatch):
    with pytest.raises(ConfigError, match="404"):
        sagan.load("hf://me/absent")
    (models / "me" / "other").mkdir(parents=True)
    with pytest.raises(ConfigError, match="damaged export"):
        sagan.load("hf://me/other")
    (models / "me" / "other" / "config.json").write_text('{"model": {"name": "antigravity"}}')
    with pytest.raises(ConfigError, match="antigravity"):
        sagan.load("hf://me/other")
    assert "antigravity" not in sys.modules
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="pip install"):
        sagan.load("hf://me/other")
