"""Row 37 of the fault matrix: files from elsewhere are read, never executed."""

import io
import os
import pickle
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support import processes
from support.image_files import COLOUR, png

from sagan.config import as_json as config_json
from sagan.config import presets

pytestmark = pytest.mark.faults

MARK = "was-run"


class Evil:
    """Creates a file when it is unpickled by code that executes pickles."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return (os.system, (f"touch {self.folder / MARK}",))


def pickled(path):
    path.write_bytes(pickle.dumps({"fc.weight": Evil(path.parent)}, protocol=2))
    return "a pickle that names posix.system"


def zipped(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps({"fc.weight": Evil(path.parent)}, protocol=2))
    return "a pickle that names posix.system"


def array_of_objects(path):
    with path.open("wb") as file:
        np.savez(file, **{"conv/kernel": np.array([Evil(path.parent)], dtype=object)})
    return "allow_pickle=False"


def climbing_tar(path):
    with tarfile.open(path, "w:gz") as archive:
        for name in (f"../{MARK}", str(path.parent / MARK), "../classify_image_graph_def.pb"):
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("classify_image_graph_def.pb")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return "archive without classify_image_graph_def.pb"


def wrong_hash(path):
    path.write_bytes(b"\x80\x02 not what its name says")
    return "does not begin with 6726825d"


def sagan(*words):
    return processes.run([sys.executable, "-m", "sagan", *words], timeout=300)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (pickled, "evil.pth"),
        (zipped, "evil.pth"),
        (array_of_objects, "evil.npz"),
        (climbing_tar, "evil.tgz"),
        (wrong_hash, "pt_inception-2015-12-05-6726825d.pth"),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_row_37_weights_that_are_not_weights_are_refused(tmp_path, make, name):
    """Row 37: malicious pickle, tar with `../`, wrong weights hash: refused, not executed."""
    pictures, weights = tmp_path / "pictures", tmp_path / "weights"
    for folder in (pictures, weights):
        folder.mkdir()
    for number in range(10):
        (pictures / f"{number}.png").write_bytes(png(np.full((8, 8, 3), number), 8, COLOUR))
    says = make(weights / name)
    before = sorted(tmp_path.rglob("*"))
    words = ("--images", pictures, "--reference", pictures, "--weights", weights / name)
    done = sagan("eval", *words)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("sagan: ") and says in line and name in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def workdir(tmp_path):
    """A work directory with code in it, under every name that might be imported."""
    folder = tmp_path / "run"
    for name in ("config", "get_config", "model", "evil/data", "evil/__init__", "sitecustomize"):
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"open({str(folder / MARK)!r}, 'w')\n")
    shutil.copytree(folder / "evil", folder / "checkpoints" / "5" / "evil")
    return folder


@pytest.mark.parametrize(
    ("change", "status", "says"),
    [
        (("{", '{"hook": "evil.data", '), 2, "'hook'"),
        (('"name": "synthetic"', '"name": "evil.data"'), 2, "data.name='evil.data'"),
        (('"name": "sagan"', '"name": "evil.data"'), 2, "model.name='evil.data'"),
        (("{", "__import__('os')"), 2, "JSON"),
        (None, 4, "checkpoint"),
    ],
    ids=["unknown", "data", "model", "code", "none"],
)
def test_row_37_nothing_beside_a_checkpoint_is_executed(
    workdir, tmp_path, monkeypatch, capsys, change, status, says
):
    """Row 37 and Security: eval and sample read config.json; code beside it is never executed."""
    from sagan import cli

    monkeypatch.chdir(tmp_path)
    text = config_json.to_json(presets.load("debug", ["model.num_classes=4"]))
    changed = text if change is None else text.replace(*change, 1)
    assert change is None or changed != text
    (workdir / "config.json").write_text(changed)
    committed = workdir / "checkpoints" / "5" / "_CHECKPOINT_METADATA"
    if change is not None:
        committed.write_text("{}")
    for words in (["eval", str(workdir)], ["sample", str(workdir), "--out", str(tmp_path / "out")]):
        found = cli.main(words)
        err = capsys.readouterr().err
        if words[0] == "eval" or "data.name" not in says:  # sampling needs no data
            assert found == status and says in err, (words, found, err)
        assert not (workdir / MARK).exists() and found != 0


def test_any_text_gives_a_config_or_one_error():
    """Row 37, for text: overrides, JSON and trees made by hypothesis."""
    program = Path(__file__).parents[1] / "tools" / "fuzz_config.py"
    words = [sys.executable, str(program), "--examples", "150"]
    done = processes.run(words, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("150 examples") == 3
