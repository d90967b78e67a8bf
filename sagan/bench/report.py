"""Shows results: as lines and tables for people, as JSON for scripts, as plots."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sagan.config import ConfigError
from sagan.files import tables

_LABEL_WIDTH = 36  # characters
_LOGARITHMIC_RATIO = 20  # of the longest bar to the shortest, above which the axis is logarithmic


def show(results: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Prints lines and tables, or as JSON one object (for several results a list)."""
    if as_json:
        print(json.dumps(results[0] if len(results) == 1 else list(results)))
        return
    for result in results:
        for line in _lines(result, ""):
            print(line)


def _lines(values: Mapping[str, Any], indent: str) -> Iterable[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield f"{indent}{name}:"
            yield from (f"{indent}  {line}" for line in table(value).splitlines())
        else:
            yield f"{indent}{name:{max(2, 34 - len(indent))}} {tables.shown(value)}"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as a text table, with a column for each key of any row."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return tables.table([[tables.shown(row.get(key, "")) for key in keys] for row in rows], keys)


def check_picture(path: Path | None) -> None:
    """Raises: ConfigError unless `path` is a .png in a folder that exists."""
    if path is None:
        return
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--out {path}; allowed: a name that ends in .png")
    if not path.parent.is_dir():
        raise ConfigError(f"--out {path}: there is no folder {path.parent}")


def curves(
    path: Path,
    panels: Mapping[str, Mapping[str, tuple[Sequence[Any], Sequence[Any]]]],
    x_label: str,
    *,
    logarithmic: bool = True,
    title: str = "",
) -> None:
    """Draws a panel for each quantity, with a named curve (x, y) for each of its entries."""
    from matplotlib.figure import Figure  # pyplot has global state and may open a display

    figure = Figure(figsize=(4.6 * len(panels), 3.6), layout="constrained")
    figure.suptitle(title)
    for place, (quantity, named) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), place)
        for name, (x, y) in named.items():
            axes.plot(x, y, marker="o", ms=4, lw=1.2, label=name)
        if logarithmic:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            ticks = sorted({value for x, _ in named.values() for value in x})
            axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
            axes.minorticks_off()
        axes.set_xlabel(x_label)
        axes.set_title(quantity)
        axes.grid(alpha=0.3)
        if len(named) > 1:
            axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def bars(path: Path, values: Mapping[str, Any], label: str) -> None:
    """Draws a bar for each value; the axis is logarithmic if the values differ much."""
    from matplotlib.figure import Figure

    names = [textwrap.fill(name, _LABEL_WIDTH) for name in values]
    height = sum(0.3 + 0.2 * (1 + name.count("\n")) for name in names)
    figure = Figure(figsize=(7.5, height + 0.9), layout="constrained")
    axes = figure.add_subplot()
    drawn = axes.barh(names, list(values.values()))
    axes.bar_label(drawn, [tables.shown(float(v)) for v in values.values()], padding=3, fontsize=8)
    if max(values.values()) > _LOGARITHMIC_RATIO * min(values.values()):
        axes.set_xscale("log")
    axes.margins(x=0.2)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    figure.savefig(path, dpi=110)
