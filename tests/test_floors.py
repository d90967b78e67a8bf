"""The structure of the package holds: few folders, imports that point down, short files."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

import sagan

PACKAGE = Path(sagan.__file__).parent
TESTS = Path(__file__).parent
# From below: a folder imports from its own floor only itself, and from the floors before it.
FLOORS = (
    {"config"},
    {"files", "parallel"},
    {"models", "data", "launch"},
    {"runs"},
    {"evaluation"},
    {"tasks"},
    {"training"},
    {"bench"},
    {"cli"},
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))
ALL_FILES = FILES + sorted(TESTS.rglob("*.py"))


def folder_of(path):
    return path.relative_to(PACKAGE).parts[0]


def imported(path):
    """Yields (module, name) for everything that a file imports, wherever in it; name may be ''."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def folders_imported(path):
    for module, name in imported(path):
        parts = f"{module}.{name}".split(".")
        if parts[0] == "sagan" and parts[1] in FLOOR:
            yield parts[1]


def test_the_package_has_at_most_13_entries():
    entries = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    entries -= {"_configs", "_launch", "py.typed"}  # which a wheel also carries
    assert len(entries) <= 13
    assert {name for name in entries if not name.startswith("_")} == FLOOR.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    if path.parent == PACKAGE:
        return
    folder = folder_of(path)
    wrong = {
        other
        for other in folders_imported(path)
        if other != folder and FLOOR[other] >= FLOOR[folder]
    }
    assert not wrong, f"{folder} is not above {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("path", ALL_FILES, ids=str)
def test_no_import_of_a_private_name_from_another_folder(path):
    here = ".".join(("sagan", *path.parent.relative_to(PACKAGE).parts)) if path in FILES else ""
    for module, name in imported(path):
        if module.split(".")[0] != "sagan":
            continue
        private = [part for part in (*module.split("."), name) if part.startswith("_")]
        private = [part for part in private if not part.startswith("__")]
        assert not private or (here and module.startswith(here)), f"{module}.{name}"


@pytest.mark.parametrize("path", ALL_FILES, ids=str)
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
