"""`sagan bench --suite` with a stand-in for the interpreter that runs its steps."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
from support.suite_stand_in import RATES, TEXT

from sagan import cli, data
from sagan.bench import against_cpu, attention, beside, measure, precision, start, sweep
from sagan.bench.setup import words_with_data
from sagan.config import presets

# The suite runs its steps with `sys.executable`.
DRIVER = """
import sys
sys.executable = sys.argv.pop(1)
from sagan import cli
sys.exit(cli.main(["bench", "--suite", *sys.argv[1:]]))
"""


@pytest.fixture
def suite(tmp_path):
    """Starts a suite: `suite(*words, stages=…, limit=…, **settings)`, with ENDS and FAILS set."""
    program = tmp_path / "stand_in.py"
    program.write_text(TEXT.format(here=str(tmp_path), rates=RATES))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S {program} "$@"\n')
    python.chmod(0o755)
    out = tmp_path / "out"
    usual = {
        "cifar10_dir": "/d a",
        "inception": "/i.npz",
        "resnet": "/r.npz",
        "peer": f"{python} peer.py",
        "train_seconds": 12,
        "batch_size": 8,
    }

    def begin(*words, stages="", limit=86400, environment=None, **settings):
        told = [f"suite.{name}={value}" for name, value in (usual | settings).items() if value]
        words = [*words, *told, "--limit", str(limit)] + (["--stages", stages] if stages else [])
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(python), str(out), *words],
            env=os.environ | (environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    begin.out, begin.here, begin.python = out, tmp_path, str(python)
    begin.asked = lambda: [json.loads(x) for x in (tmp_path / "asked").read_text().splitlines()]
    return begin


def _end(process, seconds=60):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def test_every_command_is_one_that_sagan_takes(suite, monkeypatch):
    """Without running any of it; overrides reach every stage."""
    status, out, err = _end(suite("--dry-run", "model.g_channels=8"))
    assert status == 0, err
    assert not suite.out.exists()
    suite.out.mkdir()
    lines = [shlex.split(line) for line in out.splitlines()]
    ours = [line[3 : line.index(">")] for line in lines if line[1:3] == ["-m", "sagan"]]
    assert {words[0] for words in ours} == {"bench", "train", "eval", "sample"}
    assert len(ours) >= 16

    def reached(*_, **__):
        raise SystemExit(77)

    measuring = (attention, "measure"), (sweep, "run"), (beside, "run"), (precision, "run")
    measuring += (measure, "measure"), (start, "measure"), (against_cpu, "against_cpu")
    for module, name in measuring:
        monkeypatch.setattr(module, name, reached)
    for words in ours:
        if words[0] == "bench":
            with pytest.raises(SystemExit) as ended:
                cli.main(words)
            assert ended.value.code == 77, words
        else:  # neither data nor trainings are there; an unknown argument would end with SystemExit
            assert cli.main(words) in (2, 4)
        if words[0] in ("bench", "train"):
            assert "model.g_channels=8" in words
        if "--start" in words:  # trains, on synthetic images: /d a holds none
            told = words_with_data([words[1], *(word for word in words if "=" in word)])
            config = presets.load(told[0], told[1:])
            source = data.load(config.data, config.model.image_size)
            assert data.resolve(config, source).model.num_classes == 4


def test_stages_are_done_once_and_what_failed_is_named(suite):
    told = {"stages": "agree,bench,beside,score,precision", "beside": "32:8,128:2"}
    told["pictures"] = "/p"
    status, _, _ = _end(suite("seed=1", **told))
    assert status == 1  # differs from the CPU, and the peer fails in bfloat16
    page = (suite.out / "README.md").read_text()
    assert page.splitlines()[2].startswith("- commit ") and "; jax " in page.splitlines()[2]
    assert "agree.json" in page and "peer_32_8_bfloat16_compile.json.failed" in page
    assert "7.25" in page
    asked = suite.asked()
    small, large = (words[3:] for words in asked if "--beside" in words)
    for ours, config, form in (
        (small, "cifar10", "--size 32 --batch 8 --d-steps 5"),
        (large, "imagenet128", "--size 128 --batch 2 --d-steps 1"),
    ):
        assert ours[0] == config and f"train.batch_size={form.split()[3]}" in ours
        best = ours[ours.index("--beside") + 1]
        assert form in best and best.endswith(" --channels-last")
        assert "--bf16" not in best and "model.dtype=float32" in ours
    assert ["folder", "data.dir=/p"] in [words[3:5] for words in asked]
    # The trained runs do not exist; the real images are scored.
    scored = [words for words in asked if "eval" in words]
    assert [words[words.index("--images") + 1] for words in scored] == ["cifar10:test"] * 2
    assert all("data.dir=/d a" in words for words in scored)
    again = _end(suite("seed=1", **told))
    assert again[0] == 1 and suite.asked() == asked


def _spent(suite, name="cifar10"):
    return float((suite.out / f"{name}.seconds").read_text())


def test_training_goes_on_in_pieces_until_its_time_is_used_up(suite):
    status, _, err = _end(suite("seed=1", stages="train", train_seconds=2))
    assert status == 0, err
    assert (suite.here / "saved").read_text() == "xx"
    assert min(_spent(suite), _spent(suite, "cifar10_sngan")) >= 2
    before = len(suite.asked())
    assert _end(suite("seed=1", stages="train", train_seconds=2))[0] == 0
    assert len(suite.asked()) == before
    plot = suite.out / "cifar10" / "eval" / "metrics.png"
    plot.parent.mkdir()
    plot.touch()
    assert _end(suite("seed=1", stages="score"))[0] == 0
    names = [str(suite.out / name) for name in ("cifar10", "cifar10_sngan")]
    curves = [i for i, words in enumerate(suite.asked()) if "all" in words]
    assert [suite.asked()[i][3] for i in curves] == names
    others = [
        i for i, words in enumerate(suite.asked()) if names[0] in words and "all" not in words
    ]
    assert curves[0] > max(others)
    page = (suite.out / "README.md").read_text()
    assert "![](cifar10/eval/metrics.png)" in page and "cifar10_sngan/eval" not in page
    # More time goes on with the same runs; a limit ends the command before it is used up.
    for name in ("cifar10", "cifar10_sngan"):
        (suite.out / f"{name}.done").unlink()
    status, _, _ = _end(suite("seed=1", stages="train", train_seconds=400, limit=5))
    assert status == 42
    assert 5 <= _spent(suite) < 12


def test_a_training_that_fails_is_named_and_not_tried_again(suite):
    told = {"stages": "train", "train_seconds": 1, "environment": {"FAILS": "cifar10"}}
    assert _end(suite("seed=1", **told))[0] == 1
    assert "cifar10.failed" in (suite.out / "README.md").read_text()
    assert (suite.out / "cifar10_sngan.done").exists()
    before = len(suite.asked())
    assert _end(suite("seed=1", **told))[0] == 1 and len(suite.asked()) == before


@pytest.mark.parametrize("kill", [os.kill, os.killpg])
def test_a_request_to_stop_reaches_the_training_once(suite, kill):
    """Also where the whole process group is told, and the training saves before the page."""
    process = suite("seed=1", stages="train", train_seconds=400)
    _wait_for(suite.out / "cifar10" / "config.json")
    kill(process.pid, signal.SIGTERM)
    assert _end(process, 20)[0] == 42
    assert (suite.here / "saved").read_text() == "x"
    assert _spent(suite) >= 0
    assert "`cifar10` was trained for" in (suite.out / "README.md").read_text()


def test_a_step_that_crashes_when_it_is_stopped_has_not_failed(suite):
    """139: how an interpreter may end that is told to."""
    told = {"stages": "agree", "environment": {"ENDS": "--against-cpu 139 2"}}
    process = suite("seed=1", limit=40, **told)
    _wait_for(suite.out / "agree.json.part")
    process.send_signal(signal.SIGTERM)
    assert _end(process)[0] == 42
    assert not (suite.out / "agree.json.failed").exists()
    slow = told | {"environment": {"ENDS": "--against-cpu 139 30"}}
    assert _end(suite("seed=1", limit=2, **slow))[0] == 42
    assert not (suite.out / "agree.json.failed").exists()
    assert _end(suite("seed=1", limit=40, **told))[0] == 1  # nobody stopped it
    assert (suite.out / "agree.json.failed").exists()


def test_steps_end_a_twentieth_before_the_limit(suite):
    """The step notes when it was told to stop; the rest of the limit is for the page."""
    limit = 20
    told = {"stages": "agree", "environment": {"ENDS": "--against-cpu 139 600"}}
    assert _end(suite("seed=1", limit=limit, **told))[0] == 42
    began = (suite.out / "log").stat().st_mtime  # when the step started
    stopped = (suite.here / "stopped").stat().st_mtime
    assert limit * 0.5 < stopped - began < limit


def test_only_comparisons_have_results_with_status_1(suite):
    assert _end(suite("seed=1", stages="bench", environment={"ENDS": "--attention 1 0"}))[0] == 1
    names = {path.name for path in suite.out.glob("*.failed")}
    assert names == {"attention_float32.json.failed", "attention_bfloat16.json.failed"}


def test_results_that_are_not_json_are_named_and_left_out(suite):
    for ends in ("peer.py", "bench"):
        told = {"stages": "bench,beside", "beside": "32:8"}
        status, _, err = _end(suite("seed=1", environment={"ENDS": f"{ends} 0 0"}, **told))
        assert status == 1 and "Traceback" not in err
        page = (suite.out / "README.md").read_text()
        assert "peer_32_8_float32_eager.json" in page
        assert not any("--beside" in words for words in suite.asked())
        (suite.out / "bench_cifar10_float32.json").unlink()
    assert "**wrong** bench_cifar10_float32.json" in page


def test_without_data_nothing_is_trained(suite):
    told = {"stages": "train,precision", "cifar10_dir": "", "train_seconds": 1}
    assert _end(suite("seed=1", **told))[0] == 0
    assert not (suite.here / "asked").exists()
    assert _end(suite("data.name=synthetic", **told))[0] == 0
    assert [words[2] for words in suite.asked()] == ["train", "train", "bench"]


@pytest.mark.parametrize(
    ("word", "facts"),
    [
        ("seed", ["seed"]),
        ("suite.batchsize=3", ["suite.batchsize", "suite.batch_size"]),
        ("suite.repeats=0", ["suite.repeats=0", ">= 1"]),
        ("suite.repeats=many", ["suite.repeats", "many"]),
        ("suite.beside=64:8", ["64:8", "32:BATCH"]),
        ("--stages=agree,gate", ["gate", "agree", "precision"]),
        ("--repeats=3", ["--repeats", "--suite", "--limit"]),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(tmp_path, word, facts, capsys):
    assert cli.main(["bench", "--suite", str(tmp_path / "out"), "seed=1", word]) == 2
    error = capsys.readouterr().err
    assert all(fact in error for fact in facts)
    assert not (tmp_path / "out").exists()


def test_a_machine_without_a_gpu_is_refused_unless_it_is_meant(suite):
    told = {"stages": "agree", "environment": {"NO_GPU": "1"}}
    status, _, err = _end(suite("seed=1", **told))
    assert status == 2 and "suite.device=cpu" in err
    assert not suite.out.exists()
    assert _end(suite("--dry-run", "seed=1", **told))[0] == 0
    assert _end(suite("seed=1", device="cpu", **told))[0] == 1
    assert (suite.out / "agree.json").exists()


def _wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.3)
