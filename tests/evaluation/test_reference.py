"""The cached reference is used if nothing changed, and never if something did."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sagan.config import DataConfig
from sagan.data.image_sets import FromSource
from sagan.evaluation import metrics, reference


class Network:
    """A feature network that counts the images it is given."""

    name = "network"
    widths = {"pool": 3, "pool_768": 3}
    missing = {}

    def __init__(self, **fingerprint):
        self.fingerprint = {"features": "network", "weights_sha256": "00", "resizer": "tf"}
        self.fingerprint |= fingerprint
        self.num_images = 0

    def __call__(self, images, outputs):
        self.num_images += len(images)
        return {name: images.mean((1, 2)).astype(np.float32) for name in outputs}


class Source:
    class_names = ("a", "b", "c")
    key = "source"

    def __init__(self, n=50):
        self.images = np.random.RandomState(0).randint(0, 255, (n, 4, 4, 3)).astype(np.uint8)
        self.labels = np.arange(n) % 3

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": int(self.labels[index])}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    return tmp_path


def of(source, network, names=("fid",)):
    images = FromSource(source, 4, "source:train")
    found = metrics.find(names)
    return reference.of(images, found, network, batch_size=8)


def same(a, b):
    for name in a:
        for x, y in zip(a[name], b[name], strict=True):
            np.testing.assert_array_equal(x, y)


def test_the_second_time_it_is_read_from_the_cache():
    first, network = Network(), Network()
    made, found = of(Source(), first), of(Source(), network)
    assert first.num_images == 50 and network.num_images == 0
    assert made.sha256 == found.sha256
    assert found.class_counts.tolist() == [17, 17, 16]
    same(made.states, found.states)


def test_another_metric_computes_only_the_state_that_is_missing():
    of(Source(), Network())
    network = Network()
    made = of(Source(), network, ["fid", "kid"])
    assert network.num_images == 50 and set(made.states) == {"pool.moments", "pool.bank"}


@pytest.mark.parametrize("change", ["pixel", "label", "number", "resizer", "weights", "key"])
def test_every_change_is_noticed(change):
    first = of(Source(), Network())
    source, network = Source(), Network()
    if change == "pixel":
        source.images[17, 2, 1, 0] ^= 1
    elif change == "label":
        source.labels[[3, 4]] = source.labels[[4, 3]]
    elif change == "number":
        source.images, source.labels = source.images[:49], source.labels[:49]
    elif change == "key":
        source.key = "another"
    else:
        field = {"resizer": "resizer", "weights": "weights_sha256"}[change]
        network = Network(**{field: "clean"})
    second = of(source, network)
    assert network.num_images == len(source)
    of_data = change in ("pixel", "label", "number")
    assert (first.sha256 != second.sha256) == of_data


def test_a_damaged_file_is_computed_again(cache, capsys):
    first = of(Source(), Network())
    (file,) = cache.rglob("pool.moments.npz")
    whole = file.read_bytes()
    for damage in (whole[:200], b"", whole.replace(b"num_images", b"num_imagex")):
        file.write_bytes(damage)
        network = Network()
        same(first.states, of(Source(), network).states)
        assert network.num_images == 50
        assert len(file.read_bytes()) == len(whole)
    assert str(file) in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_costs_no_score(cache, caplog):
    (cache / "reference").write_text("no folder")
    network = Network()
    assert of(Source(), network).num_images == 50
    assert str(cache / "reference") in caplog.text


def test_other_users_can_read_the_cache_if_the_umask_allows(cache):
    before = os.umask(0o027)
    try:
        of(Source(), Network())
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in cache.rglob("*.npz")} == {0o640}


def test_classes_with_other_numbers_are_cached_separately():
    images = FromSource(Source(), 4, "source:train")
    for names in (("a", "b", "c"), ("a", "b", "c", "d")):
        named = images.with_classes(names)
        made = reference.of(named, metrics.find(["fid"]), Network(), batch_size=8)
        assert len(made.class_counts) == len(made.class_names) == len(names)


def test_a_classifier_is_trained_on_the_preset_not_on_a_folder_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "debug").mkdir()
    monkeypatch.chdir(tmp_path)
    assert reference.training_images("debug:test", (), 8).name == "synthetic:train"


def test_a_file_of_other_images_is_not_used(cache):
    of(Source(), Network())
    (right,) = cache.rglob("pool.moments.npz")
    other = Source()
    other.images[0] ^= 255
    of(other, Network())
    (wrong,) = set(cache.rglob("pool.moments.npz")) - {right}
    right.write_bytes(wrong.read_bytes())
    network = Network()
    of(Source(), network)
    assert network.num_images == 50


def test_the_hash_of_contents_does_not_depend_on_who_read_what():
    source = FromSource(Source(), 4, "source")

    def contents(order):
        pixels, labels = source.read(np.array(order))
        return reference.contents_of(np.array(order), pixels, labels, num_classes=3)

    whole = contents(range(50))
    swapped = contents([1, 0, *range(2, 50)])
    np.testing.assert_array_equal(whole.digest, swapped.digest)
    halves = [contents(range(25)), contents(range(25, 50))]
    np.testing.assert_array_equal(whole.digest, halves[0].digest ^ halves[1].digest)
    moved = Source()
    moved.images[[0, 1]] = moved.images[[1, 0]]
    source = FromSource(moved, 4, "source")
    assert (contents(range(50)).digest != whole.digest).any()


PROGRAM = """
    import importlib.util, json, sys
    sys.path.insert(0, {tests!r})
    import jax
    jax.distributed.initialize("127.0.0.1:{port}", 2, int(sys.argv[1]))
    spec = importlib.util.spec_from_file_location("case", {file!r})
    case = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(case)
    seen = []
    for names in (["fid"], ["fid"], ["fid", "kid"]):
        network = case.Network()
        made = case.of(case.Source(), network, names)
        seen.append(network.num_images)
    print(json.dumps([made.sha256, made.class_counts.tolist(), sorted(made.states), seen,
                      made.states["pool.moments"].outer.tolist()]))
"""


def test_two_processes_share_the_work_and_the_cache_of_the_first(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        places = {"tests": str(Path(__file__).parents[1]), "file": str(Path(__file__))}
        program = PROGRAM.format(port=free.getsockname()[1], **places)
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(i)],
            env=os.environ | {"SAGAN_CACHE": str(tmp_path / str(i))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in outputs)
    # 50 images in batches of 8 on each of two devices; the second call finds all in the cache.
    assert first.pop(3) == [32, 0, 32] and second.pop(3) == [18, 0, 18]
    assert first == second
    alone = of(Source(), Network(), ["fid", "kid"])
    assert first[:3] == [alone.sha256, [17, 17, 16], ["pool.bank", "pool.moments"]]
    np.testing.assert_allclose(first[3], alone.states["pool.moments"].outer, rtol=1e-12)
    assert not (tmp_path / "1").exists()


def test_other_splits_of_a_runs_data_are_looked_for_in_its_folder(tmp_path):
    own = DataConfig(name="tfds/cifar10", dir="/there", fit="pad")
    assert reference.settings_for("cifar10:test", own) == ["data.fit=pad", "data.dir=/there"]
    for other in ("digits:test", str(tmp_path), "unknown", "x.npz"):
        assert reference.settings_for(other, own) == ["data.fit=pad"]
