"""A generator that leaves the package, and comes back."""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sagan
from sagan import cli
from sagan.config import ConfigError, replace
from sagan.tasks.gan import export


@pytest.fixture(scope="module")
def exports(workdir, tmp_path_factory):
    """Both kinds of export of one checkpoint, by format."""
    found = {
        name: tmp_path_factory.mktemp("export") / name for name in ("stablehlo", "safetensors")
    }
    for name, out in found.items():
        assert cli.main(["export", str(workdir), "--format", name, "--out", str(out)]) == 0
    return found


def test_a_program_draws_the_same_images_without_this_package(workdir, exports, tmp_path):
    script = exports["stablehlo"] / "generate.py"
    assert len(script.read_text().splitlines()) <= 20
    code = f"import runpy, sys; sys.argv[1:] = ['3']; runpy.run_path({str(script)!r}); "
    code += "assert not {'sagan', 'flax'} & set(sys.modules)"
    variables = {name: x for name, x in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=variables, check=True)
    drawn = np.load(tmp_path / "images.npy", allow_pickle=False)
    generator = sagan.load(workdir)
    z = np.asarray(jax.random.normal(jax.random.key(3), (8, generator.z_dim)))
    same = np.clip(np.round(127.5 * (generator(z, np.arange(8) % 4) + 1)), 0, 255)
    assert drawn.dtype == np.uint8 and np.abs(drawn - same).max() <= 1


def test_weights_draw_the_same_bits(workdir, exports):
    ours, theirs = sagan.load(workdir), sagan.load(exports["safetensors"])
    assert (theirs.step, theirs.class_names) == (ours.step, ours.class_names)
    how = {"classes": ["hue1", 3], "num": 3, "seed": 5}
    np.testing.assert_array_equal(theirs.sample(**how), ours.sample(**how))


def test_the_readme_has_scores_with_their_protocol(workdir, tmp_path):
    result = {"metrics": {"fid50k": 12.5}, "protocol": {"num_fake": 50000, "resizer": None}}
    (workdir / "eval").mkdir(exist_ok=True)
    scored = workdir / "eval" / "2.json"
    scored.write_text(json.dumps(result))
    words = ["export", str(workdir), "--format", "safetensors", "--out", str(tmp_path)]
    try:
        assert cli.main(words) == 0
    finally:
        scored.unlink()
    text = (tmp_path / "README.md").read_text()
    assert "| fid50k | 12.5 |" in text and '"num_fake": 50000' in text


def test_no_file_names_the_folder_of_the_data(workdir, tmp_path):
    generator = sagan.load(workdir)
    config = replace(generator.config, data={"dir": "/home/me/private"})
    written = export.write(dataclasses.replace(generator, config=config), tmp_path, "safetensors")
    assert all(b"private" not in path.read_bytes() for path in written)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _rename(path):
    arrays = load_file(path)
    arrays["params.lineal.kernel"] = arrays.pop("params.linear.kernel")
    save_file(arrays, path)


def _reshape(path):
    arrays = load_file(path)
    arrays["params.linear.bias"] = arrays["params.linear.bias"][:-1].copy()
    save_file(arrays, path)


@pytest.mark.parametrize(
    ("harm", "fact"),
    [
        (_truncate, "safetensors"),
        (_rename, "params.lineal.kernel"),
        (_reshape, "params.linear.bias"),
    ],
)
def test_harmed_weights_are_refused(workdir, tmp_path, harm, fact):
    words = ["export", str(workdir), "--format", "safetensors", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    harm(tmp_path / "out" / "model.safetensors")
    with pytest.raises(ConfigError, match=fact):
        sagan.load(tmp_path / "out")


def test_a_folder_of_other_files_is_left_alone(workdir, exports, tmp_path, capsys):
    (tmp_path / "mine").touch()
    words = ["export", str(workdir), "--format", "stablehlo", "--out", str(tmp_path)]
    assert cli.main(words) == 2 and (tmp_path / "mine").exists()
    with pytest.raises(ConfigError, match="generate.py"):
        sagan.load(exports["stablehlo"])
