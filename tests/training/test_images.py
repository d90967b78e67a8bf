"""A run resumes on the images that it was trained on, or is told to use others."""

import pytest
from support import runs
from support.image_folders import pictures, write

from sagan import cli
from sagan.runs import checkpoint


@pytest.fixture
def words(tmp_path):
    write(tmp_path / "set", pictures(0, 20), classes=["cat", "dog"])
    words = runs.small(tmp_path / "run")[3:]
    words += ["data.name=folder", f"data.dir={tmp_path / 'set'}", "log.every_steps=100"]
    return [*words, "checkpoint.every_steps=100"]


def test_other_images_are_refused_unless_allowed(words, tmp_path, capsys):
    assert cli.main([*words, "train.steps=1"]) == 0
    write(tmp_path / "set" / "cat" / "new", pictures(1, 3))
    config = (tmp_path / "run" / "config.json").read_text()
    assert cli.main([*words, "train.steps=1"]) == 2
    said = capsys.readouterr().err
    assert "cat: 10 -> 13 images" in said and "guard.images_may_change=true" in said
    assert "dog" not in said.splitlines()[-1]
    assert (tmp_path / "run" / "config.json").read_text() == config
    assert cli.main([*words, "train.steps=2", "guard.images_may_change=true"]) == 0
    assert "cat: 10 -> 13 images" in capsys.readouterr().err
    assert cli.main([*words, "train.steps=2"]) == 0  # they are the run's images now
    assert checkpoint.steps(tmp_path / "run") == [1, 2]


def test_a_run_that_noted_no_images_resumes(words, tmp_path, monkeypatch):
    save = checkpoint.Checkpoints.save

    def without(self, step, state, sampler, about, **options):
        save(self, step, state, sampler, {k: about[k] for k in about if k != "images"}, **options)

    monkeypatch.setattr(checkpoint.Checkpoints, "save", without)
    assert cli.main([*words, "train.steps=1"]) == 0
    write(tmp_path / "set" / "cat" / "new", pictures(1, 3))
    assert cli.main([*words, "train.steps=2"]) == 0
