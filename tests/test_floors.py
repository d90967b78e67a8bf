"""The structure holds: imports point down, files stay short, `--help` stays quick."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sagan

ROOT = Path(sagan.__file__).parent
FLOORS = (
    {"typed", "jaxprs", "process"},
    {"config"},
    {"config_json"},
    {"presets", "registry", "mesh", "writers", "images", "stop", "manifest", "lock"}
    | {"roll_call", "join", "watchdog", "goodput", "device_error"},
    {"data", "layers", "losses", "metrics", "features", "optim"},
    {"models", "telemetry", "protocols", "results", "extract", "image_sets", "compare"}
    | {"draws", "gate", "divergence", "sentinel"},
    {"train_step", "checkpoint", "reference"},
    {"sampler", "attention_maps", "quarantine", "guard"},
    {"sample", "evaluator", "grids"},
    {"evaluate", "watch", "bench", "check", "cost", "launch", "launchers"},
    {"train"},
    {"_bench_cli", "_eval_cli", "_launch_cli"},
    {"cli"},
    {"__main__", "__init__"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def _unit(path):
    parts = path.relative_to(ROOT).parts
    return parts[0].removesuffix(".py")


def _imports(path):
    """Yields the units of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "sagan":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sagan."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("sagan."))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    unit = _unit(path)
    assert unit in FLOOR, f"give {unit} a floor"
    for other in set(_imports(path)) - {unit, "__version__"}:
        assert other in FLOOR, f"{path.name} imports {other}, which has no floor"
        assert FLOOR[other] <= FLOOR[unit], f"{unit} must not import {other}, a floor above"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short(path):
    assert len(path.read_text().splitlines()) <= 300


def test_help_is_quick_and_imports_no_jax():
    code = (
        "import sys, sagan.cli as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'jax' not in sys.modules and 'numpy' not in sys.modules"
    )
    times = []
    for _ in range(3):
        start = time.monotonic()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        times.append(time.monotonic() - start)
    assert min(times) < 1
