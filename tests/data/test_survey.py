"""What a person is told about images before a run: crops, classes, and the sheet."""

import numpy as np
import pytest
from PIL import Image

from sagan import data
from sagan.config import DataConfig
from sagan.data import survey


@pytest.fixture
def source(tmp_path):
    def load(fit="crop"):
        for n in range(10):
            for name in ("日本", "a, b"):
                path = tmp_path / "set" / name / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 16 if n == 0 else 10) if n < 3 else (8, 8), "red").save(path)
        return data.load(DataConfig(name="folder", dir=str(tmp_path / "set"), fit=fit), 8)

    return load


@pytest.mark.parametrize(
    ("fit", "facts"),
    [("crop", ("20%", "50%")), ("pad", ("20%", "50%")), ("stretch", ("1.25", "2.00"))],
)
def test_what_becomes_of_images_that_are_not_square(source, fit, facts):
    opened = source(fit)
    sizes, oblong = survey.shapes(opened, survey.survey(opened).sizes)
    assert "8 x 8" in sizes and "8 x 16" in sizes
    assert all(text in oblong for text in (*facts, "6 of 20", f"data.fit={fit}"))


def test_classes_are_shown_with_their_numbers(source):
    opened = source()
    lines = list(survey.classes(opened, survey.survey(opened).labels))
    assert lines[0].split()[:4] == ["0", "a,", "b", "10"]
    assert lines[1].split()[:3] == ["1", "日本", "10"]


def test_the_sheet_has_a_row_of_each_class(source, tmp_path):
    opened = source()
    found = survey.survey(opened)
    assert {label: len(tiles) for label, tiles in found.tiles.items()} == {0: 8, 1: 8}
    survey.write_sheet(tmp_path / "sheet.png", opened, found.tiles)
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    red = (pixels == (255, 0, 0)).all(-1)
    assert red.sum() == 2 * 8 * 64 * 64 and not red[:20].any()
