"""How a process is set up before jax is imported."""

import gc
import os
import sys
from pathlib import Path


def collect_rarely() -> None:
    """Lets the garbage collector look after 100,000 new objects instead of 700.

    Tracing a training step makes a million that stay: looking through them takes a quarter of it.
    """
    gc.set_threshold(100_000)


def use_huge_pages() -> None:
    """Starts this process anew with huge pages in malloc, where Linux gives them to who asks.

    A training step on CPUs walks through gigabytes, fresh each time: it takes a tenth less time.
    """
    name, tunables = "glibc.malloc.hugetlb", os.environ.get("GLIBC_TUNABLES", "")
    try:
        asked = "[madvise]" in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
    except OSError:
        return
    if asked and name not in tunables:
        os.environ["GLIBC_TUNABLES"] = ":".join(filter(None, (tunables, f"{name}=1")))
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
