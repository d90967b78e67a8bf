"""The README and the pages of docs/ are run from top to bottom, and their links and paths exist.

A fenced block of `bash` or `python` is executed, in a folder of its own with a finished run of the
digits, unless a comment such as `<!-- needs hardware -->` stands directly before it. A python block
after a paragraph that begins with a file's name in bold becomes that file.
"""

import functools
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import sagan
from sagan import cli
from sagan.config import Config, replace
from sagan.data.sources import scenes
from sagan.tasks.captioning.encoders import digits as encoder

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SLOW = {"extending.md", "tutorial.md"}

FENCE = re.compile(r"^```([\w{}]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MARKER = re.compile(r"<!-- needs (hardware|data|network) -->\n\Z")
NAMED = re.compile(r"\*\*`(\w+\.py)`\*\*[^\n]*(?:\n[^\n]+)*\n\n\Z")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(r"`(?:python )?((?:sagan|tests|configs|launch|docs)/[\w./-]*)[^`]*`")

# Run from outside these tests: the first two by .ci/run, which they are the essence of.
ELSEWHERE = {
    "pip install -e .",
    'pip install -e ".[test]"',
    'pytest -n 2 -m "not slow and not faults"',
}

TINY = ["train.batch_size=8", "log.every_steps=1", "checkpoint.statistics_batches=1"]
SMALL = [*TINY, "model.g_channels=4", "model.d_channels=4"]
# Small networks, which compile quickly; SAGAN's are tested elsewhere. Those of `PAIR` have an
# attention layer, because some commands draw attention maps.
PLAIN = {"model.name": "support.dense_pair", "model.spectral_norm_g": False,
         "model.spectral_norm_d": False}  # fmt: skip
QUICK = [f"{field}={value}".lower() for field, value in PLAIN.items()]
PAIR = [*SMALL, *QUICK, "model.name=support.attentive_pair"]
DIGITS = [*PAIR, "train.steps=2", "eval.num_images=100"]
PICTURES = [*PAIR, "model.image_size=8", "train.steps=1", "sample.every_steps=1"]
SCENES = {"train": 240, "test": 200}  # of 12,000 and 1,000
# The first words of a command as it is written, and the words added to run it in seconds. The
# first that fits counts.
SMALLER = {
    "sagan train digits_transformer": [
        "train.steps=2",
        "train.batch_size=8",
        "model.layers=1",
        "model.features=8",
        "sample.every_steps=0",
        "eval.metrics=bits_per_dim",
    ],
    "sagan train captions": [
        "train.steps=2",
        "train.batch_size=8",
        "model.hidden_dim=8",
        "sample.every_steps=0",
        "eval.num_images=20",
    ],
    "sagan train digits seed=1": [*DIGITS, "train.steps=1"],
    "sagan train folder": PICTURES,
    "sagan train cifar10": [*SMALL, "train.steps=2"],
    "sagan train debug name=my_model": [
        *SMALL,
        "train.steps=1",
        "sample.every_steps=0",
        "model.attention=none",
        "model.spectral_norm_g=false",
    ],
    "sagan train debug": [*TINY, "train.steps=1", "sample.every_steps=0"],
    "sagan train": DIGITS,
    "sagan check folder": PICTURES,
    "sagan launch": ["--dry-run"],
    "sagan bench": [*DIGITS, "--repeats", "1"],
    "sagan eval": [],
    "sagan sample": [],
    "sagan export": [],
    "sagan caption": [],
    "sagan compare": [],
    "sagan report": [],
    "sagan reference": [],
}


class Block(NamedTuple):
    """A fenced block: its language, its text, and what the page says before it."""

    language: str
    text: str
    before: str

    @property
    def is_marked(self) -> bool:
        return MARKER.search(self.before) is not None


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(m[1], m[2], text[: m.start()]) for m in FENCE.finditer(text)]


def commands(text: str) -> list[str]:
    """Lists a block's commands: continued lines are joined, comments dropped, `&&` split."""
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    bare = [re.sub(r"(^|\s)#.*", "", line).strip() for line in lines]
    return [part.strip() for line in bare if line for part in line.split("&&")]


def smaller(command: str) -> list[str]:
    """Returns what to add to a command. Raises: StopIteration if no entry fits."""
    more = next(more for words, more in SMALLER.items() if command.startswith(words))
    quick = "train debug" in command and "model.name=" not in command
    return [*more, *QUICK] if quick else more


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    """A cache folder that all pages share, so that each classifier is trained only once."""
    return str(tmp_path_factory.mktemp("docs-cache"))


@pytest.fixture(scope="module")
def digits(tmp_path_factory, cache) -> Path:
    """A work directory of the digits, trained for two steps and scored."""
    workdir = tmp_path_factory.mktemp("docs") / "digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGAN_CACHE", cache)
        assert cli.main(["train", *DIGITS, "--workdir", str(workdir)]) == 0
    return workdir


@pytest.fixture
def here(digits, cache, tmp_path, monkeypatch) -> Path:
    """The current folder: runs/digits is that run, runs/one and runs/two are copies of it."""
    monkeypatch.setenv("SAGAN_CACHE", cache)
    monkeypatch.setattr(scenes, "SCENES", SCENES)
    monkeypatch.setattr(encoder, "train", functools.partial(encoder.train, steps=2))
    monkeypatch.setattr(sagan, "train", train_small)
    for name in ("digits", "one", "two"):
        shutil.copytree(digits, tmp_path / "runs" / name)
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 256, (12, 10, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return tmp_path


def train_small(config: Config, train=sagan.train, **options):
    """Stands for `sagan.train`, and replaces the networks by small ones that compile quickly."""
    model = {field.removeprefix("model."): value for field, value in PLAIN.items()}
    return train(replace(config, model=model), **options)


def run(command: str) -> None:
    """Runs one command of a page in this process; it must succeed."""
    if command in ELSEWHERE:
        return
    words = shlex.split(command.removeprefix("PYTHONPATH=. "))
    assert words[0] == "sagan", f"{command}: mark its block, or teach this test to run it"
    assert cli.main([*words[1:], *smaller(" ".join(words))]) == 0, command


def marks(page: Path) -> tuple:
    return (pytest.mark.slow,) if page.name in SLOW else ()


@pytest.mark.parametrize("page", [pytest.param(p, id=p.name, marks=marks(p)) for p in PAGES])
def test_a_page_runs_from_top_to_bottom(page, here):
    names = {}
    for block in blocks(page):
        if block.is_marked or block.language not in ("bash", "python"):
            continue
        named = NAMED.search(block.before)
        if block.language == "bash":
            for command in commands(block.text):
                run(command)
        elif named:
            (here / named[1]).write_text(block.text)
        else:
            exec(compile(block.text, f"{page.name}: a python block", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_exist(page):
    text = page.read_text()
    for target in LINK.findall(FENCE.sub("", text)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        other = page.parent / file if file else page
        assert other.exists(), target
        assert not anchor or anchor in slugs(other), target
    for path in PATH.findall(text):
        assert (ROOT / path).exists(), path


def slugs(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as GitHub and Sphinx make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text()
    listed = index.split("{toctree}")[1].split()
    assert {page.stem for page in (ROOT / "docs").glob("*.md")} - {"index"} <= set(listed)


def test_the_readme_is_short_and_names_every_folder():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 170
    folders = {p.name for p in (ROOT / "sagan").iterdir() if p.is_dir() and "_" not in p.name}
    assert folders == set(re.findall(r"^├?└?── (\w+)/", text, re.MULTILINE))


def test_the_quickstart_is_what_is_promised():
    text = (ROOT / "README.md").read_text()
    assert "pip install -e . && sagan train\n" in text
    assert 'pip install -e ".[test]" && pytest -n 2 -m "not slow and not faults"\n' in text
