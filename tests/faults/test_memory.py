"""Row 32: the host runs out of memory (the kernel kills the process), or a device does."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest
from support import runs

from sagan.runs import checkpoint

pytestmark = pytest.mark.faults


def test_row_32_host(environment, tmp_path):
    """32: out of memory, host: 137, retried. The kernel's own killer sends this very signal."""
    workdir = tmp_path / "run"
    words = runs.small(workdir, "train.steps=2000", "log.every_steps=100", "sample.every_steps=0")
    launch = [*words[:3], "launch", "local", "--max-restarts", "1"]
    launch += [*words[4:], "checkpoint.every_steps=500"]
    process = subprocess.Popen(
        launch, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        runs.wait_until(lambda: checkpoint.steps(workdir)[:1] == [500], process)
        os.kill(json.loads((workdir / "train.lock").read_text())["pid"], signal.SIGKILL)
        text, _ = process.communicate(timeout=runs.PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, text[-3000:]
    assert "137" in text and f"resuming {workdir} from step" in text


def test_row_32_device(environment, tmp_path):
    """32: out of memory, device: exit 1 with advice on the batch.

    No device here runs out of memory by itself, so the compiled step raises what XLA raises.
    """
    program = """\
        import sys
        from jax.errors import JaxRuntimeError
        from sagan import cli
        from sagan.parallel import devices as mesh
        class Step:
            def __init__(self, compiled):
                self.lower = compiled.lower
            def __call__(self, *_):
                raise JaxRuntimeError(
                    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 18253611008 bytes."
                )
        compile = mesh.Devices.compile
        mesh.Devices.compile = lambda *given: Step(compile(*given))
        cli.entry()
    """
    words = runs.small(tmp_path / "run")[3:]
    done = runs.finish(
        [sys.executable, "-c", textwrap.dedent(program), *words], environment, status=1
    )
    last = done.stderr.splitlines()[-1]
    assert "train.batch_size" in last and "18253611008" in last
    assert not (tmp_path / "run" / "train.lock").exists()
