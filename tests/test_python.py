"""`import sagan`: load, sample, train and score from a notebook, a script or a thread."""

import os
import runpy
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

import sagan
from sagan.files import cache
from sagan.training import loop

FIELDS = {
    "model.name": "support.dense_pair",
    "train.steps": 1,
    "train.batch_size": 8,
    "sample.every_steps": 0,
    "checkpoint.statistics_batches": 1,
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The generator that `train` returned, its folder, and the handlers of signals by then."""
    workdir = tmp_path_factory.mktemp("python") / "run"
    handlers = [_handlers()]
    with pytest.MonkeyPatch.context() as patch:
        real = loop.Loop.run
        patch.setattr(loop.Loop, "run", lambda self: handlers.append(_handlers()) or real(self))
        generator = sagan.train(sagan.preset("debug", FIELDS), workdir=str(workdir))
    return generator, workdir, [*handlers, _handlers()]


def _handlers():
    return [signal.getsignal(number) for number in signal.valid_signals()]


def test_importing_imports_no_jax():
    words = "import sys, sagan; dir(sagan); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], stdin=subprocess.DEVNULL).returncode == 0


def test_names_are_found_when_they_are_used():
    assert {name for name in sagan.__all__ if getattr(sagan, name)} <= set(dir(sagan))
    with pytest.raises(AttributeError):
        sagan.unknown  # noqa: B018


def test_training_leaves_signal_handlers_alone(trained):
    before, during, after = trained[2]
    assert before == during == after


def test_training_goes_on_in_a_thread(trained):
    generator, workdir, _ = trained
    assert generator.step == 1
    found = []
    config = sagan.preset("debug", FIELDS | {"train.steps": 2})
    thread = threading.Thread(target=lambda: found.append(sagan.train(config, workdir)))
    thread.start()
    thread.join()
    assert [each.step for each in found] == [2]


@pytest.mark.parametrize("as_type", [str, lambda path: path])
def test_a_run_is_loaded_by_either_kind_of_path(trained, as_type):
    generator, workdir, _ = trained
    loaded = sagan.load(as_type(workdir), step=1)
    assert (loaded.step, loaded.class_names) == (1, generator.class_names)
    images = loaded.sample(labels=[1, 3], indices=[0, 7])
    np.testing.assert_array_equal(
        images, generator.sample(labels=np.array([1, 3]), indices=np.array([0, 7]))
    )


@pytest.mark.parametrize("step", ["newest", "-1", True])
def test_a_step_that_means_nothing_is_refused(trained, step):
    with pytest.raises(sagan.ConfigError, match="latest, best"):
        sagan.load(trained[1], step=step)


def test_what_is_no_run_raises(tmp_path):
    with pytest.raises(sagan.CheckpointError):
        sagan.load(tmp_path)
    with pytest.raises(sagan.ConfigError):
        sagan.train("debug", workdir=tmp_path)
    with pytest.raises(sagan.ConfigError, match="steps"):
        sagan.preset("debug", {"train.stps": 1})


def test_images_are_scored_against_a_reference():
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), np.uint8)
    how = {"reference": "digits:test", "features": "classifier"}
    scores = sagan.evaluate(images=images, **how)
    assert list(scores) == ["classifier_fid32", "classifier_score32"]
    assert sagan.evaluate(images=images.copy(), **how, metrics="classifier_fid") == {
        "classifier_fid32": scores["classifier_fid32"]
    }


@pytest.mark.parametrize(
    ("how", "fact"),
    [
        ({}, "images"),
        ({"workdir": "runs/x", "images": "digits:test"}, "images"),
        ({"images": np.zeros((2, 8, 8, 3), np.uint8)}, "reference"),
        ({"images": np.zeros((2, 8, 8, 3)), "reference": "digits:test"}, "float64"),
        ({"images": np.zeros((2, 8, 9, 3), np.uint8), "reference": "digits:test"}, "8, 9"),
        ({"images": "digits:test", "reference": "digits:test", "seeds": [1]}, "seeds"),
        ({"images": "digits:test", "reference": "digits:test", "truncation": 0.0}, "truncation"),
    ],
)
def test_scores_that_cannot_be_computed_are_refused(how, fact):
    with pytest.raises(sagan.ConfigError, match=fact):
        sagan.evaluate(**how)


@pytest.mark.parametrize("guarded", [False, True])
def test_workers_need_a_main_guard(tmp_path, guarded):
    call = "main_guard.require(2)"
    body = f"if __name__ == '__main__':\n    {call}\n" if guarded else f"{call}\n"
    script = tmp_path / "script.py"
    script.write_text(f"from sagan.data import main_guard\n{body}")
    if guarded:
        runpy.run_path(str(script), run_name="__main__")
        return
    with pytest.raises(sagan.ConfigError, match=r"script\.py, line 2.*__name__"):
        runpy.run_path(str(script), run_name="__main__")


def test_training_with_workers_asks_for_the_guard(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "script.py"
    fields = FIELDS | {"data.workers": 1, "data.resident_bytes": 0}
    script.write_text(f"import sagan\nsagan.train(sagan.preset('debug', {fields}), 'run')\n")
    with pytest.raises(sagan.ConfigError, match="line 2"):
        runpy.run_path(str(script), run_name="__main__")


@pytest.fixture
def no_cache_is_set(monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("SAGAN_COORDINATOR", raising=False)
    place = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", place)


def test_compiled_programs_are_kept_once_jax_is_imported(no_cache_is_set, monkeypatch):
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    cache.keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(cache.folder() / "jax")


def test_a_users_own_cache_stays(no_cache_is_set, monkeypatch, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    cache.keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    cache.keep_compiled_programs()
    assert jax.config.jax_compilation_cache_dir is None
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"


@pytest.mark.parametrize("name", ["gs://bucket/run", "with[bracket]", "file/run"])
def test_a_work_directory_that_cannot_be_used_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(sagan.ConfigError, match=name.split("/")[0].replace("[", r"\[")):
        sagan.train(sagan.preset("debug", FIELDS), workdir=name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
