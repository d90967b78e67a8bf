"""How a process is set up."""

import io
import logging
import sys

from sagan import cli
from sagan.cli import process
from sagan.config import exit_codes, presets
from sagan.config.exit_codes import Failure


def test_any_name_can_be_printed_in_any_encoding(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    process.print_anything()
    print("日 é")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\u65e5 \xe9\n"


def test_an_error_does_not_silence_the_log_of_a_process_that_goes_on(monkeypatch, caplog):
    class Unlucky(Failure):
        exit_code = exit_codes.CRASH

    def load(*_):
        raise Unlucky("no luck")

    monkeypatch.setattr(presets, "load", load)
    assert cli.main(["train", "debug"]) == exit_codes.CRASH
    logging.getLogger("anything").warning("still heard")
    assert "still heard" in caplog.text
