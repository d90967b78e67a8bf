"""Where things are kept that are computed once."""

from pathlib import Path

import pytest

from sagan.files import cache


@pytest.mark.parametrize(
    ("ours", "xdg", "found"),
    [
        ("~/a", "/b", "/home/x/a"),
        ("", "/b", "/b/sagan"),
        (None, "/b", "/b/sagan"),
        (None, "", "/home/x/.cache/sagan"),
        (None, None, "/home/x/.cache/sagan"),
        (None, "relative", "/home/x/.cache/sagan"),
    ],
)
def test_the_folder_follows_the_environment(ours, xdg, found, monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    for name, value in (("SAGAN_CACHE", ours), ("XDG_CACHE_HOME", xdg)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert cache.folder() == Path(found)
