"""A manifest notices every kind of damage to the files of a checkpoint."""

import pytest

from sagan.runs import manifest

FILES = {"state/array": b"0123456789", "state/deep/more": b"abc", "sampler/average": b"xyz"}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    manifest.write(tmp_path)
    (tmp_path / manifest.COMMITTED).write_text("{}")  # Orbax writes it after the manifest
    return tmp_path


def test_an_undamaged_checkpoint_has_no_damage(folder):
    assert manifest.damage(folder) == ""


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["flip a byte", "cut", "append", "remove"])
def test_each_damage_names_its_file(folder, name, harm):
    path, content = folder / name, FILES[name]
    if harm == "remove":
        path.unlink()
    else:
        changed = {"flip a byte": bytes([content[0] ^ 1]) + content[1:], "cut": content[:-1]}
        path.write_bytes(changed.get(harm, content + b"."))
    assert manifest.damage(folder).startswith(f"{name}: ")
    # Readers of one item need not care for the files of the others.
    item = name.split("/")[0]
    assert manifest.damage(folder, [item])
    assert not manifest.damage(folder, [i for i in ("state", "sampler") if i != item])


@pytest.mark.parametrize("name", [manifest.NAME, manifest.COMMITTED])
def test_a_checkpoint_without_its_own_records_is_damaged(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    assert name in manifest.damage(folder)
    (folder / name).unlink()
    assert name in manifest.damage(folder)
