"""Writes docs/configs.md, the list of all config fields, from the comments of the schema.

Run it after a change of a field: python tests/tools/write_config_docs.py
"""

import ast
import dataclasses
import inspect
from pathlib import Path

from sagan.config import plugins, presets, schema
from sagan.config.fields import describe, hints, limits_text
from sagan.evaluation import metrics
from sagan.tasks.gan import losses, penalties

FILE = Path(__file__).parents[2] / "docs" / "configs.md"
HEAD = """# Config fields

A config is a preset or a `.py` file, with fields changed on the command line as
`section.field=value`. This page is made from the comments in `sagan/config/schema.py`,
`sagan/models/__init__.py` and `sagan/models/sagan.py`.

Lists are written with commas (`model.attention=16,32`); `none` is an empty list or no value.
A schedule is `linear:START:END:IMAGES` or `cosine:START:END:IMAGES`: the value goes from START to
END while that many real images are seen, and stays there.
"""

NAMES = """## Names

What the fields above may name. A module of yours may stand in each of these places
([Extending](extending.md)).
"""


def comments(section):
    """Returns, by field, the comment above it in the source of a dataclass and its bases."""
    found = {}
    for kind in reversed(section.__mro__):
        if not dataclasses.is_dataclass(kind):
            continue
        lines = inspect.getsource(kind).splitlines()
        for node in ast.parse("\n".join(lines)).body[0].body:
            if isinstance(node, ast.AnnAssign):
                above, line = [], node.lineno - 2
                while lines[line].strip().startswith("#"):
                    above.insert(0, lines[line].strip().lstrip("# "))
                    line -= 1
                found[node.target.id] = " ".join(above)
    return found


def table(section, prefix):
    known, texts, made = hints(section), comments(section), section()
    rows = ["| field | default | allowed | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(section):
        value = getattr(made, field.name)
        if dataclasses.is_dataclass(value):
            continue
        hint = known[field.name]
        limits = limits_text(hint)
        allowed = describe(hint) + (f", {limits}" if limits else "")
        cells = (f"`{prefix}{field.name}`", f"`{shown(value)}`", allowed, texts[field.name])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def shown(value):
    """Returns a value as the command line takes it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def text():
    parts = [HEAD, "## The top\n", table(schema.Config, ""), ""]
    for field in dataclasses.fields(schema.Config):
        section = type(getattr(schema.Config(), field.name))
        if dataclasses.is_dataclass(section):
            parts += [f"## `{field.name}`\n", inspect.getdoc(section), ""]
            parts += [table(section, f"{field.name}."), ""]
    return "\n".join([*parts, named()])


def named():
    """Returns the table of what can be named in a config."""
    known = {
        "a preset": presets.preset_names(),
        "`task`": plugins.names("tasks"),
        "`data.name`": [n if n != "tfds" else "tfds/NAME" for n in plugins.names("data")],
        "`model.name`": plugins.names("models"),
        "`train.loss`": losses.LOSSES,
        "`train.penalties`": penalties.PENALTIES,
        "`eval.features`": plugins.names("features"),
        "`eval.metrics`, `eval.best_metric`": metrics.names(),
    }
    rows = [f"| {field} | {', '.join(f'`{name}`' for name in known[field])} |" for field in known]
    return "\n".join([NAMES, "| where | names |", "|---|---|", *rows, ""])


if __name__ == "__main__":
    FILE.write_text(text())
