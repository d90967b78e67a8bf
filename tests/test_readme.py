"""The README's examples, word for word: each file it shows is written, its command run."""

import re
import shlex
from pathlib import Path

import pytest

from sagan import cli

README = Path(__file__).parent.parent / "README.md"
# A file's name in bold, its text, and the command that uses it.
EXAMPLE = re.compile(r"\*\*`(\w+\.py)`\*\*.*?```python\n(.*?)```.*?```bash\n(.*?)```", re.DOTALL)


def examples():
    section = README.read_text().split("## Add your own")[1].split("\n## ")[0]
    return [pytest.param(*match, id=match[0]) for match in EXAMPLE.findall(section)]


def test_there_is_one_of_each():
    assert [p.id for p in examples()] == ["my_loss.py", "my_data.py", "my_model.py"]


@pytest.mark.parametrize(("name", "text", "command"), examples())
def test_from_outside_the_package(name, text, command, tmp_path, monkeypatch):
    assert len(text.strip().splitlines()) <= 15
    (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    words = shlex.split(command)
    assert words[:3] == ["PYTHONPATH=.", "sagan", "train"]
    assert cli.main([*words[2:], "train.steps=1", "train.batch_size=8"]) == 0
    assert (tmp_path / "runs" / "debug" / "samples" / "1.png").exists()
