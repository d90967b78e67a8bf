"""How a process is set up before jax is imported."""

import gc
import io
import os
import sys
from pathlib import Path


def print_anything() -> None:
    """Lets streams replace what their encoding lacks by escapes such as `\\u65e5`.

    Otherwise the name of a class or a file could end the process where the output is not UTF-8.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def collect_rarely() -> None:
    """Makes the garbage collector run after 100,000 new objects instead of 700.

    Tracing a training step creates a million objects that are kept. With the usual setting, a
    quarter of the tracing time goes into searching them for garbage.
    """
    gc.set_threshold(100_000)


def use_huge_pages() -> None:
    """Restarts this process with huge pages in malloc, if Linux gives them on request only.

    A training step on a CPU allocates gigabytes anew each time; with huge pages it takes a tenth
    less time. The setting is read when a process starts, hence the restart.
    """
    name, tunables = "glibc.malloc.hugetlb", os.environ.get("GLIBC_TUNABLES", "")
    try:
        asked = "[madvise]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return
    if asked and name not in tunables:
        os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, f"{name}=1")))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
