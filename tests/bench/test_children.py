"""Child processes of a benchmark: trainings that are started, and that none outlives it."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from support import dense_pair, processes

from sagan import data
from sagan.bench import children, start
from sagan.bench.setup import words_with_data
from sagan.config import ConfigError, presets


def test_starts_are_trainings_ended_at_their_first_step(monkeypatch):
    """Two, with one cache: the second finds the step that the first has compiled."""
    popen, asked = subprocess.Popen, []

    def noted(command, **options):
        folder = Path(options["env"]["JAX_COMPILATION_CACHE_DIR"])
        asked.append(any(folder.glob("*program*")))
        return popen(command, **options)

    monkeypatch.setattr(subprocess, "Popen", noted)
    monkeypatch.setenv("PYTHONPATH", str(Path(dense_pair.__file__).parents[1]))
    words = ["cifar10", "data.dir=/nowhere", "model.name=support.dense_pair", "train.batch_size=4"]
    found = start.measure(words)  # the data is not there: synthetic images
    assert asked == [False, True]
    assert found["again_over_first"] == found["again"] / found["first"] > 0


@pytest.mark.parametrize(
    "words",
    [
        ["imagenet128", "data.name=synthetic", "train.batch_size=256"],
        ["cifar10", "data.dir=/nowhere", "train.batch_size=64"],
        ["cifar10", "data.name=synthetic", "model.num_classes=none"],
        ["imagenet128", "data.dir=/nowhere", "data.name=synthetic"],
    ],
)
def test_a_start_gets_data_that_a_training_accepts(words):
    told = words_with_data(words)
    config = presets.load(told[0], told[1:])
    assert config.data.name == "synthetic"
    source = data.load(config.data, config.model.image_size)
    classes = None if "model.num_classes=none" in words else 4
    assert data.resolve(config, source).model.num_classes == classes


def test_a_start_that_has_its_data_gets_no_more_overrides():
    assert words_with_data(["debug", "seed=3"]) == ["debug", "seed=3"]


def test_no_child_outlives_an_error():
    with pytest.raises(KeyError), children.started(["sleep", "60"]) as process:
        raise KeyError
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("how", ["signal.SIG_DFL", "signal.SIG_IGN"])
def test_a_benchmark_that_is_told_to_stop_ends_its_children(how, tmp_path):
    """Also one that will not end by itself."""
    pid = tmp_path / "pid"
    inner = (
        f"import os, pathlib, signal, time; signal.signal(signal.SIGTERM, {how})\n"
        f"pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    outer = (
        "import sys; from sagan import cli; from sagan.bench import beside, children\n"
        f"beside.run = lambda *_, **__: children.run([sys.executable, '-c', {inner!r}])\n"
        "cli.main(['bench', 'debug', '--beside', 'other'])"
    )
    process = processes.Process([sys.executable, "-c", outer])
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(timeout=20) == 128 + signal.SIGTERM
    state = Path(f"/proc/{pid.read_text()}/stat")
    for _ in range(100):  # a zombie has ended, and waits for init
        if not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("it still runs")


def test_a_start_that_fails_says_why(monkeypatch):
    monkeypatch.setattr(start, "words_with_data", list)
    with pytest.raises(ConfigError, match=r"(?s)\b2\b.*cifar10"):
        start.measure(["cifar10", "data.dir=/nowhere"])


@pytest.mark.parametrize(
    ("does", "status"), [("sys.exit(42)", 42), ("os.kill(os.getpid(), 9)", 137)]
)
def test_a_request_to_stop_reaches_a_child_that_saves(does, status, tmp_path):
    begun = tmp_path / "begun"
    program = (
        "import os, pathlib, signal, sys, time\n"
        f"signal.signal(signal.SIGTERM, lambda *_: {does})\n"
        f"pathlib.Path({str(begun)!r}).touch(); time.sleep(60)"
    )

    def ask():
        while not begun.exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=ask)
    thread.start()
    assert children.run_saving([sys.executable, "-c", program]) == status
    thread.join()
