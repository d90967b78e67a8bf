"""Tables of text: columns line up."""

import pytest

from sagan.files.tables import table

ROWS = [["cpu", "1.5"], ["gpu 0", "12"]]


def test_columns_line_up_without_trailing_spaces():
    assert table(ROWS, ["device", "ms"]) == "device  ms\ncpu     1.5\ngpu 0   12"
    assert table(ROWS, ["device", "ms"], right_aligned=True) == (
        "device   ms\n   cpu  1.5\n gpu 0   12"
    )
    assert table([], ["device"]) == "device"


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError):
        table([["cpu"]], ["device", "ms"])
