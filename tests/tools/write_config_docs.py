"""Writes docs/configs.md, the list of all config fields, from the comments of the schema.

Run it after a change of a field: python tests/tools/write_config_docs.py
"""

import importlib
import inspect
from pathlib import Path

from sagan.config import Config, make, meanings, plugins
from sagan.evaluation import features, metrics
from sagan.tasks.gan import augmentation, conditionings, losses, penalties, regularisers

FILE = Path(__file__).parents[2] / "docs" / "configs.md"
HEAD = """# Config fields

A config is a preset or a `.py` file, with fields changed on the command line as
`section.field=value`. `sagan config [PRESET]` prints the same list. This page is made from the
comments in `sagan/config/`, and in the files of networks and tasks.

Lists are written with commas (`model.attention=16,32`); `none` is an empty list or no value.
A schedule is `linear:START:END:IMAGES` or `cosine:START:END:IMAGES`: the value goes from START to
END while that many real images are seen, and stays there.
"""


_OTHER_TASKS = {
    "image_transformer": "image_transformer",
    "captioning": "show_attend_tell",
}  # and their networks
TAIL = """## Environment variables

| variable | meaning |
|---|---|
| `SAGAN_CACHE` | The cache folder: compiled programs, references of scores, classifiers, downloaded weights, large data sets after decoding, and sheets of `sagan check`. It may be deleted at any time. |
| `XDG_CACHE_HOME` | Where `SAGAN_CACHE` is not set, the cache folder is `$XDG_CACHE_HOME/sagan`, else `~/.cache/sagan`. |
| `TFDS_DATA_DIR` | Where `data.dir` is not set, the data_dir of tensorflow-datasets, else `~/tensorflow_datasets`. |
| `JAX_COMPILATION_CACHE_DIR` | Keeps compiled programs here instead of in the cache folder. |

[Launching](launching.md) has those of jobs with several processes.
"""  # noqa: E501


def table(fields):
    rows = ["| field | default | allowed | meaning |", "|---|---|---|---|"]
    for field in fields:
        cells = (f"`{field.key}`", f"`{field.default}`", field.allowed, field.text)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def first_line(thing):
    return inspect.getdoc(thing).splitlines()[0]


def names():
    """Returns a table of the losses, penalties, metrics and feature networks that we have."""
    known = [("train.loss", *row) for row in sources_of(losses, "LOSSES")]
    known += [("train.penalties", k, first_line(row)) for k, row in penalties.PENALTIES.items()]
    known += [("train.regularisers", *row) for row in sources_of(regularisers, "REGULARISERS")]
    rows = augmentation.AUGMENTATIONS
    known += [("train.augment", name, first_line(row)) for name, row in rows.items()]
    known += [("model.d_conditioning", *row) for row in sources_of(conditionings, "CONDITIONINGS")]
    for name in metrics.names():
        (metric,) = metrics.find([name])
        known.append(("eval.metrics", name, first_line(inspect.getmodule(metric.compute))))
    for name in plugins.names("features"):
        module = importlib.import_module(f"{features.__name__}.{name}")
        known.append(("eval.features", name, first_line(module)))
    rows = [
        f"| `{field}` | `{name}` | {about.replace('|', '&#124;')} |" for field, name, about in known
    ]
    return "\n".join(["| field | name | what it is |", "|---|---|---|", *rows])


def sources_of(module, table):
    """Returns pairs of the name of each row of a table and the comment above it."""
    lines = inspect.getsource(module).splitlines()
    found = []
    for name in getattr(module, table):
        row = next(n for n, line in enumerate(lines) if line.startswith(f'    "{name}": '))
        above = row
        while lines[above - 1].startswith("    #"):
            above -= 1
        found.append((name, " ".join(line.strip("# ") for line in lines[above:row])))
    return found


def text():
    parts = [HEAD]
    for name, about, fields in meanings.sections(Config()):
        parts += [f"## `{name}`\n", about, ""] if name else ["## The top\n"]
        parts += [table(fields), ""]
    usual = {field.key: field for _, _, fields in meanings.sections(Config()) for field in fields}
    for family in plugins.names("models"):
        if family in ("sagan", *_OTHER_TASKS.values()):
            continue
        for name, about, fields in meanings.sections(make(model={"name": family})):
            own = [f for f in fields if f.key != "model.name" and usual.get(f.key) != f]
            if name == "model":
                parts += [f"## `{name}` with `model.name={family}`\n", about, ""]
                parts += ["Fields that `sagan` does not have, or with another default.\n"]
                parts += [table(own), ""]
    for task, networks in _OTHER_TASKS.items():
        config = make(task=task, model={"name": networks})
        for name, about, fields in meanings.sections(config):
            if name in ("model", "optim", "train"):
                parts += [f"## `{name}` with `task={task}`\n", about, "", table(fields), ""]
    parts += ["## Names that fields take\n", names(), "", TAIL]
    return "\n".join(parts)


if __name__ == "__main__":
    FILE.write_text(text())
