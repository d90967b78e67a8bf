"""The command line: mistakes end in 2 or 4 with one line, before jax starts."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sagan import cli
from sagan.cli import process
from sagan.config import as_json, presets


def one_line(capsys):
    text = capsys.readouterr().err
    lines = text.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("sagan: "), text
    return lines[0]


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["train", "debug", "train.lr=1"], ["train.lr"]),
        (["train", "debug", "train.stps=1"], ["train.stps", "steps"]),
        (["train", "debug", "train.steps=many"], ["train.steps", "'many'", "int"]),
        (["train", "debug", "train.steps=-1"], ["train.steps=-1", ">= 1"]),
        (["train", "nowhere"], ["'nowhere'", "digits"]),
        (["train", "nowhere.py"], ["nowhere.py"]),
        (["train", "debug", "train.accumulate_steps=3"], ["train.batch_size=16", "3"]),
        (["train", "debug", "model.image_size=33"], ["model.image_size=33", "28, 32, 40"]),
        (["train", "debug", "model.g_chanels=8"], ["model.g_chanels", "g_channels"]),
        (["train", "folder"], ["data.dir"]),
        (["train", "folder", "data.dir=/nowhere"], ["data.dir=/nowhere"]),
        (["train", "cifar10", "data.dir=/nowhere"], ["/nowhere", "'cifar10'"]),
        (["train", "debug", "train.batch_size=1024"], ["512", "train.batch_size=1024"]),
        (["train", "debug", "model.num_classes=3"], ["model.num_classes=3", "4"]),
        (["train", "debug", "train.loss=hing"], ["train.loss='hing'", "hinge"]),
        (["train", "debug", "train.penalties=gp=1"], ["train.penalties", "gp", "r1"]),
        (["train", "debug", "train.penalties=r1"], ["train.penalties", "r1"]),
        (["train", "debug", "optim.beta2=linear:1"], ["optim.beta2", "linear:1"]),
        (["train", "debug", "model.name=bigan"], ["model.name='bigan'", "did you mean biggan"]),
        (["train", "debug", "task=gam"], ["task='gam'", "gan"]),
        (["train", "debug", "model.attention=5"], ["model.attention", "5"]),
        (["train", "debug", "--workdir", "gs://bucket/run"], ["gs:/", "Mount"]),
        (["train", "folder", "data.dir=s3://bucket/set"], ["data.dir=s3://bucket/set", "Mount"]),
        (["train", "cifar10", "data.dir=gs://bucket"], ["data.dir=gs://bucket", "Mount"]),
        (["sample", "x", "--out", "s3://bucket/o"], ["s3:/", "Mount"]),
        (["sample", "gs://bucket/run", "--out", "o"], ["gs:/", "Mount"]),
        (["eval", "gs://bucket/run"], ["gs:/", "Mount"]),
        (["eval", "--images", "gs://b", "--reference", "digits:test"], ["gs://b", "Mount"]),
        (["compare", "gs://bucket/a", "b"], ["gs://bucket/a", "Mount"]),
        (["launch", "local", "--workdir", "gs://b/run", "debug"], ["gs://b/run", "Mount"]),
        (["trian"], ["'trian'", "did you mean train"]),
        (["train", "digit"], ["'digit'", "did you mean digits"]),
        (["train", "debug", "data.name=synthetics"], ["did you mean synthetic"]),
        (["train", "debug", "trian.steps=1"], ["did you mean train.steps"]),
        (["train", "debug", "data.name=digits", "data.split=tests"], ["did you mean test"]),
        (["reference", "digits", "--metrics", "FDI"], ["'FDI'", "did you mean fid"]),
        (["reference", "digits", "--features", "incepton"], ["did you mean inception"]),
        (["eval", "--images", "digit:test", "--reference", "x"], ["did you mean digits"]),
        (["sample", "x", "--out", "o", "--points", "0.5,0.5"], ["--points", "--attention"]),
        (["sample", "x", "--out", "o", "--attention", "--points", "2,0"], ["--points", "2,0"]),
    ],
)
def test_mistakes_end_in_2_with_one_line(words, facts, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(words) == 2
    line = one_line(capsys)
    assert all(fact in line for fact in facts), line
    assert list(tmp_path.iterdir()) == []  # nothing was left behind


def test_a_step_that_is_none_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text(as_json.to_json(presets.preset("debug")))
    words = ["sample", str(tmp_path), "--out", str(tmp_path / "o"), "--step", "newest"]
    assert cli.main(words) == 2
    assert "newest" in one_line(capsys)


def test_mistakes_are_told_before_anything_slow(tmp_path):
    """Before training is imported, and a field that no section has before jax is."""
    code = (
        "import sys; from sagan import cli\n"
        "assert cli.main(['train', 'debug', 'train.lr=1']) == 2\n"
        "for words in (['train', 'folder', 'data.dir=.'],\n"
        "              ['train', 'debug', 'model.num_classes=3']):\n"
        "    assert cli.main(words) == 2\n"
        "    assert 'sagan.training' not in sys.modules, words"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_a_batch_must_divide_over_the_devices(capsys, tmp_path):
    words = ["train", "debug", "train.batch_size=17", "--workdir", str(tmp_path / "run")]
    assert cli.main(words) == 2
    assert "train.batch_size=17" in one_line(capsys)


def described(words, capsys):
    """Returns what a dry run prints: the config, and each network's count and table."""
    assert cli.main(["train", *words, "--dry-run"]) == 0
    text, _, sizes = capsys.readouterr().out.rpartition("}\n")
    found = re.findall(r"^(\w+): ([\d,]+) parameters\n((?:[+|].*\n)+)", sizes, re.MULTILINE)
    return json.loads(text + "}"), {name: (count, table) for name, count, table in found}


def test_dry_run_prints_and_leaves_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, networks = described(["digits", "seed=3"], capsys)
    assert config["seed"] == 3
    assert set(networks) == {"generator", "discriminator"}
    for count, table in networks.values():
        rows = re.findall(r"^\| [\w/]+ +\|.*\| ([\d,]+) +\|$", table, re.MULTILINE)
        assert sum(int(row.replace(",", "")) for row in rows) == int(count.replace(",", ""))
        assert "attention" in table
    assert list(tmp_path.iterdir()) == []


def test_dry_run_needs_data_only_to_count_the_classes(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    known = ["imagenet128", "model.g_channels=8", "model.d_channels=8"]
    config, networks = described(known, capsys)
    assert config["model"]["num_classes"] == 1000
    assert set(networks) == {"generator", "discriminator"}
    assert cli.main(["train", *known, "model.num_classes=data", "--dry-run"]) == 2
    assert "imagenet2012" in one_line(capsys)


def test_no_work_directory_ends_in_4(capsys, tmp_path):
    assert cli.main(["sample", str(tmp_path), "--out", str(tmp_path / "o")]) == 4
    assert str(tmp_path) in one_line(capsys)


def test_the_closest_work_directory_is_named(capsys, tmp_path, monkeypatch):
    for name in ("digits", "b-digits"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for words, meant in (("digits", "digits"), ("runs/digts", "digits"), ("B-Digits", "b-digits")):
        assert cli.main(["eval", words]) == 4
        assert f"did you mean runs/{meant}" in one_line(capsys)
    assert cli.main(["eval", "faces"]) == 4
    assert "mean" not in one_line(capsys)


def test_a_work_directory_that_cannot_be_made_ends_in_2(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    words = ["train", "debug", "--workdir", str(tmp_path / "file" / "run")]
    assert cli.main(words) == 2
    assert str(tmp_path / "file" / "run") in one_line(capsys)


BAD_LABELS = """
import numpy as np


class Source:
    class_names, key = ("a", "b"), "bad-labels"

    def __len__(self):
        return 20

    def __getitem__(self, i):
        return {"image": np.zeros((8, 8, 3), np.uint8), "label": i // 6}


def load(config, image_size, argument):
    return Source()
"""


def test_bad_labels_and_bad_images_are_found_before_training_starts(tmp_path):
    (tmp_path / "bad_labels.py").write_text(BAD_LABELS)
    (tmp_path / "set" / "a").mkdir(parents=True)
    for number in range(20):
        (tmp_path / "set" / "a" / f"{number}.png").write_bytes(b"no image")
    code = (
        "import sys; from sagan import cli\n"
        "for words in (['data.name=bad_labels'], ['data.name=folder', 'data.dir=set']):\n"
        "    assert cli.main(['train', 'debug', *words]) == 2\n"
        "    assert 'sagan.training' not in sys.modules, words"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stderr.strip().splitlines()
    assert "image 12" in first and "label 2" in first
    assert "20 of 20" in second and "set/a/0.png" in second


def test_check_looks_at_everything(capsys, tmp_path):
    assert cli.main(["check", "digits"]) == 0
    out = capsys.readouterr().out
    for text in (
        "1,437 images",
        "10 in the data, 10 in use",
        "unreadable   0",
        "steps/epoch  22.5",
    ):
        assert text in out
    assert out.count("#") > 100 and "MiB per device" in out
    from PIL import Image

    for number in range(30):
        path = tmp_path / "cat" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9)).save(path)
    path.write_bytes(path.read_bytes()[:40])
    words = ["check", "folder", f"data.dir={tmp_path}", "train.batch_size=10", "model.g_channels=8"]
    assert cli.main(words) == 2
    out = capsys.readouterr().out
    assert "unreadable   1" in out and "29.png" in out and "None in use" in out


@pytest.mark.parametrize(
    ("setting", "tunables", "after"),
    [
        ("always [madvise] never", None, "glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.a=1", "glibc.a=1:glibc.malloc.hugetlb=1"),
        ("always [madvise] never", "glibc.malloc.hugetlb=0", None),
        ("[always] madvise never", None, None),
        ("always madvise [never]", None, None),
    ],
)
def test_huge_pages_are_asked_for_once_and_where_they_must_be(
    setting, tunables, after, monkeypatch
):
    asked = []
    monkeypatch.setattr(Path, "read_text", lambda path: setting)
    monkeypatch.setattr(os, "execv", lambda *command: asked.append(command))
    monkeypatch.setenv("GLIBC_TUNABLES", tunables or "")
    process.use_huge_pages()
    again = [(sys.executable, [sys.executable, *sys.orig_argv[1:]])]
    assert asked == (again if after else [])
    assert os.environ["GLIBC_TUNABLES"] == (after or tunables or "")


def test_a_process_started_anew_keeps_its_words():
    """As a whole process, wherever it runs: same arguments, same identity, no loop."""
    program = (
        "import os, sys; from sagan.cli import process; process.use_huge_pages(); "
        "print(os.getpid(), sys.argv)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "a b", "--c"], stdout=subprocess.PIPE, text=True
    ) as started:
        out, _ = started.communicate(timeout=60)
    assert out == f"{started.pid} ['-c', 'a b', '--c']\n"


def test_a_path_that_orbax_takes_for_a_pattern_is_refused(tmp_path, capsys):
    """It would save checkpoints there that nobody can read."""
    workdir = tmp_path / "a[1]" / "run"
    assert cli.main(["train", "debug", "--workdir", str(workdir)]) == 2
    assert "a[1]" in capsys.readouterr().err
    assert not workdir.exists()
