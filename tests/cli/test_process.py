"""How a process is set up."""

import io
import sys

from sagan.cli import process


def test_any_name_can_be_printed_in_any_encoding(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    process.print_anything()
    print("日 é")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\u65e5 \xe9\n"
