"""Rows 13 to 19, 33: files of a work directory are damaged, or of another run."""

import json
import os
import shutil
import sys
import textwrap

import numpy as np
import pytest
from support import runs

from sagan import cli
from sagan.runs import checkpoint, recovery

pytestmark = pytest.mark.faults


def largest(workdir, step, item="state"):
    files = (workdir / "checkpoints" / str(step) / item).rglob("*")
    return max((f for f in files if f.is_file()), key=lambda f: f.stat().st_size)


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    os.truncate(path, path.stat().st_size - 1)


def empty(path):
    os.truncate(path, 0)


def remove(path):
    path.unlink()


def aside(workdir):
    folder = workdir / "checkpoints-quarantine"
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("harm", [truncate, empty, remove, flip])
@pytest.mark.parametrize(
    "part", ["state", "sampler", "manifest.json", "_CHECKPOINT_METADATA", "state/_METADATA"]
)
def test_row_14_a_harmed_file_is_noticed(workdir, capsys, harm, part):
    """14: truncated, zero-length, deleted data file: step quarantined, falls back, loud log.

    Every kind of damage to every kind of file, in this process; real processes are below.
    """
    whole = workdir / "checkpoints" / "20" / part
    victim = largest(workdir, 20, part) if whole.is_dir() else whole
    harm(victim)
    chosen = recovery.resume(workdir)
    text = capsys.readouterr().err
    if harm is flip and part == "_CHECKPOINT_METADATA":
        # Orbax writes it after the manifest; the values in it are not used.
        assert chosen in (15, 20)
        return
    assert chosen == 15 and aside(workdir) == ["20"]
    assert f"{workdir}/checkpoints/20" in text and "checkpoints-quarantine/20" in text
    assert checkpoint.steps(workdir) == [5, 10, 15]


def test_row_14_the_same_command_falls_back(workdir, straight, environment):
    """14: truncated, zero-length, deleted data file: step quarantined, falls back, loud log."""
    truncate(largest(workdir, 20))
    remove(largest(workdir, 15))
    done = runs.finish(runs.small(workdir), environment)
    assert "checkpoints/20" in done.stderr and "from step 10" in done.stderr
    assert aside(workdir) == ["15", "20"]
    runs.assert_same(straight, workdir)


def test_row_15_one_flipped_byte(workdir, straight, environment):
    """15: one flipped byte: sha256 catches it, falls back."""
    flip(largest(workdir, 20))
    done = runs.finish(runs.small(workdir), environment)
    assert (
        "checkpoints/20" in done.stderr
        and "sha256" in done.stderr
        and "from step 15" in done.stderr
    )
    assert aside(workdir) == ["20"]
    runs.assert_same(straight, workdir)


def test_row_15_readers_fall_back_and_move_nothing(workdir, tmp_path, capsys):
    """15: one flipped byte: `sample` and `eval` fall back without moving anything."""
    flip(largest(workdir, 20, "sampler"))
    words = ["sample", str(workdir), "--num", "1", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    assert "step 20" in capsys.readouterr().err
    assert cli.main([*words, "--step", "20"]) == 4
    assert "step 20" in capsys.readouterr().err
    assert cli.main(["eval", str(workdir), "--num-images", "64"]) == 0
    assert "step 20" in capsys.readouterr().err
    assert cli.main(["eval", str(workdir), "--num-images", "64", "--step", "all"]) == 0
    assert "20" in capsys.readouterr().err
    assert sorted(p.name for p in (workdir / "eval").glob("*.json")) == [
        "10.json", "15.json", "5.json",
    ]  # fmt: skip
    assert aside(workdir) == [] and checkpoint.steps(workdir) == [5, 10, 15, 20]


def test_row_16_junk_is_ignored(workdir, straight, environment):
    """16: junk `9999/`, stray files: ignored."""
    shutil.rmtree(workdir / "checkpoints" / "20")
    for name in ("9999", "30.orbax-checkpoint-tmp", "notes"):
        (workdir / "checkpoints" / name).mkdir()
    for name in ("17", "stray.txt", "10/stray"):
        (workdir / "checkpoints" / name).write_text("junk")
    # If 9999 counted as a checkpoint, keep=1 would delete the one just saved.
    done = runs.finish(runs.small(workdir, "checkpoint.keep=1"), environment)
    assert "from step 15" in done.stderr
    assert checkpoint.steps(workdir) == [20]
    assert aside(workdir) == ["17", "9999"]
    runs.assert_same(straight, workdir, steps=[20])


def test_row_16_junk_alone_is_no_run(tmp_path):
    """16: junk `9999/`: a work directory with nothing else starts at step 0."""
    (tmp_path / "checkpoints" / "9999").mkdir(parents=True)
    assert recovery.resume(tmp_path) == 0 and aside(tmp_path) == ["9999"]


@pytest.mark.parametrize("what", ["bytes", "metadata"])
def test_row_17_all_checkpoints_bad(workdir, environment, what):
    """17: all checkpoints bad: exit 4; never silently restarts from 0."""
    for step in (5, 10, 15, 20):
        if what == "bytes":
            flip(largest(workdir, step))
        else:
            (workdir / "checkpoints" / str(step) / "_CHECKPOINT_METADATA").unlink()
    before = sorted(workdir.rglob("*"))
    for _ in range(2):  # trying again changes nothing
        done = runs.finish(runs.small(workdir), environment, status=4)
        assert str(workdir / "checkpoints") in done.stderr.splitlines()[-1]
    assert sorted(workdir.rglob("*")) == before


def test_row_18_another_config_and_another_shape(workdir, environment):
    """18: config or shape mismatch: exit 4 with a field diff."""
    words = runs.small(workdir, "model.g_channels=16", "optim.beta1=0.5")
    done = runs.finish(words, environment, status=4)
    assert "model.g_channels: 8 -> 16" in done.stderr and "optim.beta1: 0.0 -> 0.5" in done.stderr
    # The same config, but networks of another shape, as after a change of the package.
    config = json.loads((workdir / "config.json").read_text())
    config["model"]["g_channels"] = 16
    (workdir / "config.json").write_text(json.dumps(config))
    done = runs.finish(runs.small(workdir, "model.g_channels=16"), environment, status=4)
    facts = ("ema.first.kernel", "(16, 8) float32", "(16, 16) float32")
    assert all(fact in done.stderr for fact in facts)
    assert aside(workdir) == []  # it is not damaged, so nothing is moved


def test_row_19_another_dtype(workdir, environment):
    """19: dtype mismatch: error, no silent cast."""
    program = """\
        import jax, sys
        from sagan import cli
        from sagan.parallel.devices import Devices
        made = Devices.abstract
        def abstract(self, make):
            def half(x):
                floating = jax.numpy.issubdtype(x.dtype, jax.numpy.floating)
                return x.update(dtype="bfloat16") if floating else x
            return jax.tree.map(half, made(self, make))
        Devices.abstract = abstract
        sys.exit(cli.main(sys.argv[1:]))
    """
    words = [sys.executable, "-c", textwrap.dedent(program), *runs.small(workdir)[3:]]
    done = runs.finish(words, environment, status=4)
    assert all(fact in done.stderr for fact in ("float32", "bfloat16"))


def test_row_33_order_is_by_step(workdir, environment, straight):
    """33: clock jumps back: order by step, never by time.

    Instead of the clock, the times of the files are changed: newer steps look older.
    """
    shutil.rmtree(workdir / "checkpoints" / "20")
    for age, step in enumerate((5, 10, 15)):
        for path in (workdir / "checkpoints" / str(step)).rglob("*"):
            os.utime(path, (1e9 - age * 1e6, 1e9 - age * 1e6))
    metadata = workdir / "checkpoints" / "15" / "_CHECKPOINT_METADATA"
    stamped = json.loads(metadata.read_text())
    stamped["init_timestamp_nsecs"] = stamped["commit_timestamp_nsecs"] = 10**18
    metadata.write_text(json.dumps(stamped))
    done = runs.finish(runs.small(workdir, "checkpoint.keep=2"), environment)
    assert "from step 15" in done.stderr and checkpoint.steps(workdir) == [15, 20]
    runs.assert_same(straight, workdir, steps=[20])


def test_a_manifest_names_every_file(straight):
    folder = straight / "checkpoints" / "20"
    listed = set(json.loads((folder / "manifest.json").read_text())["files"])
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert there - listed == {"manifest.json", "_CHECKPOINT_METADATA", "commit_success.txt"}
    assert np.all([name.split("/")[0] in ("state", "sampler", "about") for name in listed])
