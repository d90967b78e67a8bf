"""Runs as one page of HTML that needs no server, no network and no other file.

| file | what it holds |
|---|---|
| `facts.py` | what a run is, how it stands, how it is continued |
| `curves.py` | scalars over steps, thinned; alarms and resumes |
| `scores.py` | scores over steps, of several runs where they were measured alike |
| `pictures.py` | sheets of samples and attention maps, as data for the page |
| `page.py`, `page.html`, `page.css`, `page.js` | the page |
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sagan import __version__
from sagan.config import ConfigError
from sagan.config.fields import require
from sagan.files import places
from sagan.files.atomic import replace_text
from sagan.runs import checkpoint
from sagan.training.report import curves, facts, page, pictures, scores

NAME = "report.html"
REFRESH_SECONDS = 30


def write(
    workdirs: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    link: bool = False,
    refresh: int = 0,
) -> Path:
    """Writes the page; returns its path.

    Args:
      workdirs: one run or several, which are laid over one another.
      out: None: `report.html`, in the work directory of a single run, else in this folder.
      link: refer to the sheets' files in `samples/` instead of holding all of them.
      refresh: seconds after which the page reloads itself if a run is going on; 0: never.

    Raises: CheckpointError if a folder is not a work directory; ConfigError if a config cannot be
      read, or `out` cannot be written.
    """
    folders = [places.local(Path(text).expanduser()) for text in workdirs]
    require(len({folder.resolve() for folder in folders}) == len(folders), "a run is given twice")
    configs = [checkpoint.read_config(folder) for folder in folders]
    path = places.local(Path(out).expanduser()) if out else _usual_place(folders)
    runs = []
    for folder, config in zip(folders, configs, strict=True):
        table = curves.read(folder)
        run = facts.of(folder, config, table.last)
        run |= curves.of(table, folder, config, len(folders))
        run |= pictures.of(folder, config, len(folders), path.parent if link else None)
        runs.append(run)
    scores.lay_over(runs, folders, configs)
    going = refresh if any(run["state"] == "running" for run in runs) else 0
    about = {"runs": runs, "version": __version__, "made": time.strftime("%Y-%m-%d at %H:%M")}
    try:
        replace_text(path, page.html({**about, "refresh": going}, link=link))
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    return path


def watch(
    workdirs: Sequence[str | Path],
    out: str | Path | None = None,
    *,
    link: bool = False,
    seconds: int = REFRESH_SECONDS,
) -> Path:
    """Writes the page again and again until no run is going on any more; returns its path.

    Args: as `write`; the page reloads itself every `seconds`.
    """
    shown = False
    while True:
        path = write(workdirs, out, link=link, refresh=seconds)
        if not shown:
            print(f"sagan: {path} is written every {seconds} s while a run is going on",
                  file=sys.stderr)  # fmt: skip
            shown = True
        folders = [Path(text).expanduser() for text in workdirs]
        if not any(facts.is_running(f, checkpoint.read_config(f)) for f in folders):
            # The run may have ended while the page was made.
            return write(workdirs, out, link=link)
        time.sleep(seconds)


def _usual_place(folders: Sequence[Path]) -> Path:
    return folders[0] / NAME if len(folders) == 1 else Path(NAME)
