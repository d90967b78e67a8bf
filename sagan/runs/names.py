"""Work directories that a mistyped name may mean."""

from pathlib import Path

from sagan.config.fields import near


def like(workdir: Path) -> str:
    """Returns `; did you mean X` with the work directory in `runs/` or beside it that is closest.

    A folder of exactly this name in `runs/` comes first. The text is empty if none is like it.
    """
    roots = (Path("runs"), workdir.parent)
    folders = [file.parent for root in roots for file in root.glob("*/config.json")]
    name = near(workdir.name, [folder.name for folder in folders])
    found = next((folder for folder in folders if folder.name == name), None)
    return f"; did you mean {found}" if found else ""
