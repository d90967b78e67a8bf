"""Files of weights are found and checked; damaged and malicious ones are refused."""

import collections
import io
import os
import pickle
import urllib.error
import urllib.request
import zipfile

import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.evaluation.features import inception
from sagan.evaluation.features.fid_inception import official
from sagan.evaluation.features.fid_inception import weights as weights_lib
from sagan.files.hashing import file_sha256


class Evil:
    def __init__(self, action):
        self.action = action

    def __reduce__(self):
        return self.action


def write_zip(path, pickled):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("function", "named"),
    [(os.system, r"(posix|nt)\.system"), (eval, r"(builtins|__builtin__)\.eval")],
)
def test_pickle_that_runs_code_is_refused(tmp_path, legacy, function, named):
    mark = tmp_path / "ran"
    text = f"touch {mark}" if function is os.system else f"open({str(mark)!r}, 'w')"
    pickled = pickle.dumps({"fc.weight": Evil((function, (text,)))}, protocol=2)
    path = tmp_path / "evil.pth"
    if legacy:
        path.write_bytes(pickled)
    else:
        write_zip(path, pickled)
    with pytest.raises(ConfigError, match=rf"evil.pth.*{named}"):
        inception.load(weights=path)
    assert not mark.exists()


def test_npz_with_a_pickle_inside_is_refused(tmp_path):
    mark = tmp_path / "ran"
    path = tmp_path / "evil.npz"
    evil = np.array([Evil((os.system, (f"touch {mark}",)))], dtype=object)
    np.savez(path, **{"conv/kernel": evil})
    with pytest.raises(ConfigError, match="evil.npz.*allow_pickle"):
        inception.load(weights=path)
    assert not mark.exists()


def test_tensor_outside_its_storage_is_refused(tmp_path, torch):
    path = tmp_path / "bad.pth"
    good = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(4), "fc.bias": torch.zeros(4)}, good)
    with zipfile.ZipFile(good) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    key = next(name for name in entries if name.endswith("data/0"))
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data[:8] if name == key else data)
    with pytest.raises(ConfigError, match="bad.pth.*fc"):
        inception.load(weights=path)


@pytest.mark.parametrize("kind", ["pth", "legacy", "pb", "tgz"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_file(weight_files, tmp_path, kind, share):
    path = tmp_path / f"short.{kind}"
    data = weight_files[kind].read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ConfigError, match="short"):
        inception.load(weights=path)


def test_flipped_bit_in_a_pth_is_noticed(weight_files, tmp_path):
    data = bytearray(weight_files["pth"].read_bytes())
    data[len(data) // 2] ^= 1
    path = tmp_path / "flipped.pth"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="flipped.pth.*CRC"):
        inception.load(weights=path)


def test_file_that_is_something_else(tmp_path):
    for name, data in {"page.html": b"<!DOCTYPE html><html>", "empty.npz": b""}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match=f"{name}"):
            inception.load(weights=tmp_path / name)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ConfigError, match="other.npz"):
        inception.load(weights=tmp_path / "other.npz")
    with pytest.raises(ConfigError, match="nowhere.pth"):
        inception.load(weights=tmp_path / "nowhere.pth")


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, **{"conv/kernel": np.zeros((3, 3, 3, 64)), "conv/bias": np.zeros(64)})
    with pytest.raises(ConfigError, match=r"conv/kernel is \(3, 3, 3, 64\).*\(3, 3, 3, 32\)"):
        inception.load(weights=path)


def test_too_few_layers_for_anything(tmp_path):
    path = tmp_path / "stem.npz"
    np.savez(path, **{"conv/kernel": np.zeros((3, 3, 3, 32)), "conv/bias": np.zeros(32)})
    with pytest.raises(ConfigError, match="stem.npz"):
        inception.load(weights=path)


def test_name_with_a_digest_is_checked(weight_files, tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes(weight_files["pth"].read_bytes()[:5000])
    with pytest.raises(ConfigError, match="6726825d"):
        inception.load(weights=path)


def test_folded_weights_as_npz_have_the_same_hash(weight_files, tmp_path):
    layers = weights_lib.read(weight_files["pb"])
    path = tmp_path / "folded.npz"
    np.savez(path, **{f"{n}/{p}": a for n, parts in layers.items() for p, a in parts.items()})
    assert weights_lib.sha256(weights_lib.read(path)) == weights_lib.sha256(layers)
    layers["conv"]["bias"] = np.nextafter(layers["conv"]["bias"], np.float32(9))
    assert weights_lib.sha256(weights_lib.read(path)) != weights_lib.sha256(layers)


def test_graph_without_scaling_ignores_gamma(weight_files, tmp_path):
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = GraphDef.FromString(weight_files["pb"].read_bytes())
    for node in graph.node:
        if node.op == "BatchNormWithGlobalNormalization":
            node.attr["scale_after_normalization"].b = False
    (tmp_path / "unscaled.pb").write_bytes(graph.SerializeToString())
    got = weights_lib.read(tmp_path / "unscaled.pb")["conv"]["kernel"]
    constants = {n.name: n.attr["value"].tensor for n in graph.node if n.name.startswith("conv/")}
    gamma = np.frombuffer(constants["conv/batchnorm/gamma"].tensor_content, np.float32)
    scaled = weights_lib.read(weight_files["pb"])["conv"]["kernel"]
    np.testing.assert_allclose(got * gamma, scaled, rtol=1e-6)


class Response(io.BytesIO):
    pass


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_no_network_says_what_to_fetch_and_where_to_put_it(cache, monkeypatch):
    def fail(*_, **__):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    with pytest.raises(ConfigError) as caught:
        inception.load()
    text = str(caught.value)
    for part in (official.NAME, official.ADDRESS, str(cache), "no route", "--weights"):
        assert part in text
    assert list(cache.iterdir()) == []


def test_wrong_download_is_not_kept(cache, monkeypatch):
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Response(b"not weights"))
    with pytest.raises(ConfigError, match="11 bytes"):
        inception.load()
    assert list(cache.iterdir()) == []


def test_download_is_kept_and_found_again(cache, monkeypatch, weight_files):
    data = weight_files["pth"].read_bytes()
    digest = file_sha256(weight_files["pth"])
    monkeypatch.setattr(official, "SHA256", digest)
    calls = collections.Counter()

    def answer(address, **_):
        calls[address] += 1
        return Response(data)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    first, second = inception.load(), inception.load()
    assert first.fingerprint == second.fingerprint
    assert calls == {official.ADDRESS: 1}
    assert [path.name for path in cache.iterdir()] == [official.NAME]


def test_damaged_cache_is_named(cache):
    cache.mkdir()
    (cache / official.NAME).write_bytes(b"half a file")
    with pytest.raises(ConfigError, match=official.NAME):
        inception.load()


def test_pinned_digest_agrees_with_the_name():
    assert len(official.SHA256) == 64
    assert official.SHA256.startswith("6726825d")
    assert official.ADDRESS.startswith("https://")
