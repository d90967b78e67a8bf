"""Every target: what a dry run prints, where a run lives, what is refused before it starts."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import sagan.launch
from sagan.config import ConfigError, presets
from sagan.launch import (
    Launch,
    launch_folder,
    planning,
    render,
    show,
    train_arguments,
    travelling_arguments,
)

IMAGE = ["--image", "example.com/sagan:1"]
TARGETS = {
    "local": ["local", "--processes", "2"],
    "slurm": ["slurm", "--nodes", "2", "--gpus-per-node", "8", "--partition", "a100"],
    "gke-tpu": ["gke", *IMAGE, "--topology", "2x2x4"],
    "gke-gpu": ["gke", *IMAGE, "--accelerator", "nvidia-h100-80gb", "--nodes", "2"],
    "tpu-vm": ["tpu-vm", *IMAGE, "--zone", "us-central2-b", "--nfs", "10.0.0.2:/runs"],
    "sky": ["sky", *IMAGE, "--bucket", "gs://some-runs"],
}
EVALUATOR = {"gke-tpu": ["--evaluator", "nvidia-l4:1"], "gke-gpu": ["--evaluator", "nvidia-l4"]}
each_target = pytest.mark.parametrize("target", TARGETS)


@each_target
def test_dry_run_prints_every_file_and_command_and_does_nothing(
    target, here, run_launch, plan, capsys, monkeypatch
):
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    words = [*TARGETS[target], "--port", "5000"] if target == "local" else TARGETS[target]
    assert run_launch(*words, "--dry-run", "big_one", "train.steps=9") == 0
    out = capsys.readouterr().out
    wanted = plan(*words, "big_one", "train.steps=9")
    for path, text in wanted.files.items():
        assert f"# file {path}\n{text}" in out
    for command in wanted.commands:
        assert f"# command\n{shlex.join(command)}\n" in out
    assert ("# predicted for" in out) is (wanted.machine is not None)
    assert list(here.iterdir()) == []


def test_the_machine_that_a_prediction_is_for(plan):
    found = {name: plan(*words, "big_one").machine for name, words in TARGETS.items()}
    assert found == {
        "local": None,
        "slurm": None,
        "gke-tpu": "v4:2x2x4",
        "gke-gpu": "h100:16",
        "tpu-vm": "v4:2x2x4",
        "sky": "h100:8",
    }
    assert plan("gke", *IMAGE, "--topology", "2x2x4", "--slices", "2", "big_one").machine is None
    other = [*TARGETS["tpu-vm"], "--accelerator-type", "v5litepod-16"]
    assert plan(*other, "big_one").machine == "v5e:4x4"


@each_target
def test_same_run_id_is_the_same_work_directory(target, plan):
    def where(*words):
        text = show(plan(*TARGETS[target], *words))
        return [line for line in text.splitlines() if "--workdir" in line or "run-7" in line]

    port = ["--port", "5000"] if target == "local" else []
    first = where("--run-id", "run-7", "big_one", *port)
    assert first == where("--run-id", "run-7", "big_one", *port)
    assert any("runs/run-7" in line for line in first)
    # The directory follows the run id alone: other overrides continue in the same place.
    other = "\n".join(where("--run-id", "run-7", "big_one", "train.steps=99", *port))
    assert "runs/run-7" in other and "runs/run-8" not in other


@each_target
def test_run_id_derives_from_the_configs_name(target, plan):
    expected = "runs/big_one" if target in ("local", "slurm") else "/runs/big-one"
    assert expected in show(plan(*TARGETS[target], "big_one"))


@each_target
@pytest.mark.parametrize(
    "words, message",
    [
        (["big_one", "train.stepz=1"], "unknown config key 'train.stepz'"),
        (["big_one", "train.steps=many"], "train.steps='many' is not a"),
        (["nowhere"], "no preset named 'nowhere'"),
        (["absent.py"], "config file absent.py does not exist"),
        (["--run-id", "a/b"], "--run-id 'a/b'; allowed"),
    ],
)
def test_bad_config_is_refused_before_anything_is_submitted(
    target, words, message, here, run_launch, monkeypatch
):
    monkeypatch.setattr(subprocess, "run", None)
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(ConfigError) as error:
        run_launch(*TARGETS[target], *words)
    assert message in str(error.value)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "words, message",
    [
        (["slurm", "--nodes", "3"], "train.batch_size=64 is not divisible by 3 devices"),
        (["slurm", "--partition", "a b"], "--partition='a b'; allowed"),
        (["slurm", "--workdir", "/scratch/my runs"], "allowed: letters"),
        (["gke", *IMAGE, "--workdir", "runs/x"], "--workdir runs/x; allowed here: a folder of"),
        (["gke", *IMAGE, "--run-id", "Big"], "--run-id 'Big'; allowed here: lower-case"),
        (["gke", *IMAGE, "--queue", "a: b"], "--queue 'a: b'; allowed"),
        (["gke", *IMAGE, "--topology", "3x3x3"], "--topology 3x3x3 of tpu-v4-podslice; allowed:"),
        (["gke", *IMAGE, "--topology", "4x4"], "--topology 4x4 of tpu-v4-podslice; allowed:"),
        (["gke", *IMAGE, "--topology", "8x4x4"], "ascending multiples of 4"),
        (["gke", *IMAGE, "--accelerator", "tpu-v9"], "TPUs known: tpu-v4-podslice"),
        (["gke", *IMAGE, "--slices", "2"], "only slices of several hosts"),
        (["gke", *IMAGE, "--topology", "4x4x8"], "not divisible by 128 devices"),
        (["gke", *IMAGE, "--accelerator", "nvidia-l4", "--topology", "2x2"], "--topology is for"),
        (
            ["gke", *IMAGE, "--evaluator", "tpu-v5-lite-podslice:4x4"],
            "an evaluator has one host",
        ),
        (["tpu-vm", *IMAGE, "--zone", "z", "--nfs", "/x"], "--nfs /x; allowed: HOST:/SHARE"),
        (
            [*TARGETS["tpu-vm"], "--accelerator-type", "v4-1"],
            "--accelerator-type v4-1; allowed: v4-N",
        ),
        ([*TARGETS["sky"], "--accelerators", "H100:0x"], "allowed: NAME:COUNT"),
        (["sky", *IMAGE, "--bucket", "runs"], "--bucket 'runs'; allowed: gs://NAME"),
    ],
)
def test_what_a_target_cannot_do_is_named(words, message, plan):
    with pytest.raises(ConfigError) as error:
        plan(*words)
    assert message in str(error.value)


@each_target
def test_evaluator_follows_the_same_work_directory(target, plan):
    if target.startswith("gke"):
        words = [*TARGETS[target], *EVALUATOR[target]]
    else:
        words = [*TARGETS[target], "--evaluator"]
    alone, beside = show(plan(*TARGETS[target], "big_one")), show(plan(*words, "big_one"))
    assert len(beside) > len(alone)
    where = "/runs/big-one" if target not in ("local", "slurm") else "runs/big_one"
    lines = [line for line in beside.splitlines() if "eval" in line and where in line]
    assert lines, beside


def test_overrides_without_a_config_and_defaults(plan):
    job_text = show(plan("local", "--port", "5000", "train.steps=5"))
    assert "train digits train.steps=5 --workdir runs/digits" in job_text
    assert "SAGAN_" not in job_text  # one process needs no coordinator


def test_local_tells_each_rank_its_place(plan, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    commands = plan(
        "local", "--processes", "2", "--gpus-per-process", "4", "--port", "5000"
    ).commands
    ours = [{w.partition("=")[0]: w.partition("=")[2] for w in c if "=" in w} for c in commands]
    assert [o["SAGAN_PROCESS_ID"] for o in ours] == ["0", "1"]
    assert {o["SAGAN_NUM_PROCESSES"] for o in ours} == {"2"}
    assert {o["SAGAN_COORDINATOR"] for o in ours} == {"127.0.0.1:5000"}
    assert [o["CUDA_VISIBLE_DEVICES"] for o in ours] == ["0,1,2,3", "4,5,6,7"]


def test_local_shares_out_the_gpus_that_it_may_see(plan, monkeypatch):
    words = ["local", "--processes", "2", "--gpus-per-process", "2", "--port", "5000"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-a1, 7,5,6")
    text = show(plan(*words))
    assert "CUDA_VISIBLE_DEVICES=4,GPU-a1 " in text and "CUDA_VISIBLE_DEVICES=7,5 " in text
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    with pytest.raises(ConfigError, match=r"CUDA_VISIBLE_DEVICES=4,5,6\b.*\b3\b.*\b4\b"):
        plan(*words)


def test_slurm_script_says_what_was_asked(plan):
    words = ["slurm", "--nodes", "2", "--gpus-per-node", "8", "--time", "01:00:00", "--mem", "64G"]
    words += ["--cpus-per-task", "4", "--setup", "module load cuda", "--max-restarts", "7"]
    (path, text), *_ = plan(*words, "big_one").files.items()
    assert path.is_absolute() and path.parts[-4:] == ("runs", "big_one", "launch", "train.sbatch")
    lines = text.splitlines()
    for option in (
        "nodes=2",
        "ntasks-per-node=8",  # one per GPU
        "gpus-per-node=8",
        "cpus-per-task=4",
        "time=01:00:00",
        "mem=64G",
        "requeue",
        "open-mode=append",
        "signal=TERM@120",
        "dependency=singleton",
        "job-name=big_one",
    ):
        assert f"#SBATCH --{option}" in lines
    # After the first command, Slurm reads no more options.
    options = [i for i, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert max(options) < lines.index("module load cuda")
    assert '[ "$restarts" -lt 7 ]' in text
    assert f"{sys.executable} -m sagan train big_one" in text


def test_a_config_file_travels_as_overrides(here):
    path = here / "mine.py"
    path.write_text(
        "import dataclasses as d\nfrom sagan.config import presets\n"
        "def get_config():\n"
        "    base = presets.preset('big_one')\n"
        "    model = d.replace(base.model, attention=(), num_classes=None, dtype='bfloat16')\n"
        "    return d.replace(base, name='mine', model=model)\n"
    )
    overrides = ("train.steps=3", "model.attention_d=8,16", "data.flip=true")
    resolved = presets.load(str(path), overrides)
    job = Launch("mine", "/runs/mine", str(path), overrides, resolved)
    verb, preset, *changes, option, workdir = travelling_arguments(job)
    assert (verb, preset, option, workdir) == ("train", "big_one", "--workdir", "/runs/mine")
    assert presets.load(preset, changes) == resolved
    assert len(changes) == 7
    # On machines that share our files, the file itself is named, wherever they stand.
    assert train_arguments(job._replace(config="mine.py"))[1] == str(path)


def test_a_preset_travels_by_name(plan):
    assert '"train", "big_one", "train.steps=9"' in show(
        plan(*TARGETS["gke-tpu"], "big_one", "train.steps=9")
    )


def test_templates_and_values_must_match():
    with pytest.raises(ValueError, match="WORKDIR"):
        render("tpu-vm/evaluator.inc", {"IMAGE": "x"})
    with pytest.raises(ValueError, match="EXTRA"):
        render("tpu-vm/evaluator.inc", {"IMAGE": "x", "WORKDIR": "y", "EXTRA": "z"})


def test_a_missing_program_is_named(plan, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigError, match="sbatch"):
        chosen = plan("slurm")
        chosen.start(chosen)


def test_submission_stops_at_the_first_failure(plan, monkeypatch, here):
    bin_folder = here / "bin"
    bin_folder.mkdir()
    sbatch = bin_folder / "sbatch"
    sbatch.write_text('#!/bin/sh\necho "$@" >> "$0.log"\nexit 7\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_folder}:/usr/bin:/bin")
    chosen = plan("slurm", "--evaluator")
    assert chosen.start(chosen) == 7
    asked = (bin_folder / "sbatch.log").read_text().splitlines()
    assert len(asked) == 1 and asked[0].endswith("train.sbatch")
    assert all(path.read_text() == text for path, text in chosen.files.items())


def test_no_template_holds_a_secret_or_a_placeholder_left_over(plan):
    for target in TARGETS.values():
        text = show(plan(*target))
        assert "{{" not in text
        for word in ("password", "secret", "api_key", "credential"):
            assert word not in text.lower()


def test_every_template_is_used():
    used = {"README.md", "Dockerfile", "entry.sh", "gke/setup.yaml"}
    folder = Path(sagan.launch.__file__).parent
    sources = "".join(path.read_text() for path in folder.glob("*.py"))
    for path in launch_folder().rglob("*"):
        name = str(path.relative_to(launch_folder()))
        assert path.is_dir() or name in used or f'"{name}"' in sources, name


def test_launching_imports_no_jax():
    code = (
        "import argparse, sys\n"
        "from sagan.cli import launch\n"
        "p = argparse.ArgumentParser(); launch.register(p.add_subparsers())\n"
        "assert 'sagan.launch.local' in sys.modules and 'sagan.launch.sky' in sys.modules\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_work_directory_of_a_job_is_settled_once(here):
    import argparse

    args = argparse.Namespace(target="local", words=["big_one"], run_id=None, workdir="/data/x")
    assert planning.launch_for(args).workdir == "/data/x"
