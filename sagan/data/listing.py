"""Lists the images of a folder or a zip with their classes, by one rule for the whole package.

1. Splits. If the top folders are called `train`, `val` and `test` (or by another usual name), the
   images of one of them are used. If there are no such folders, the whole folder is the split
   `train`.
2. Classes. If there is StyleGAN's `dataset.json`, it gives each image a class number. Otherwise
   each top folder is a class, and images at any depth below it belong to it. Classes are sorted by
   the code points of their names (`1`, `10`, `2`). Names are normalised to Unicode's NFC. Images
   without folders have no classes.
3. All other files are ignored; a note says how many there are of each ending.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from sagan.config import ConfigError, DataConfig
from sagan.config.fields import require
from sagan.data import held_out, trees, unknown_split
from sagan.data.trees import Entry, Tree
from sagan.files.images import MAX_BYTES, SUFFIXES

_SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_LABELS = "dataset.json"  # of StyleGAN
_MAX_CLASSES = 1 << 16
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xml", ".mat")
_SAYS_LABELS = re.compile("label|class|annot|categor|meta|attr", re.IGNORECASE)
_SHOWN_ENDINGS = 6


class Listing(NamedTuple):
    """The images that are used, in order.

    Attributes:
      tree: opens the files.
      paths: path of each image below the root of the tree.
      labels: class number of each image.
      stamps: for each image, two numbers that change when the file's content changes.
      class_names: names by class number; a single name means that there are no classes.
      held_out: the split beside the one used that holds images to compare with, if there is one.
      notes: sentences to print: which split is used, and which files are ignored.
    """

    tree: Tree
    paths: list[str]
    labels: list[int]
    stamps: list[tuple[int, int]]
    class_names: tuple[str, ...]
    held_out: str | None
    notes: tuple[str, ...]


def scan(root: Path, split: str = DataConfig.split, called: str = "") -> Listing:
    """Lists the images of a split of a folder or a zip.

    Args:
      called: text before the root's name in errors, such as `data.dir=`.

    Raises: ConfigError if there are no images, a class is empty, images lie beside classes, a
      name could be a split or a class, or `dataset.json` is not valid for these images.
    """
    where = f"{called}{root}"
    tree = trees.open_tree(root, where)
    entries = sorted(tree.entries(), key=lambda entry: entry.path.split("/"))
    folder, held, notes = _split_folder(entries, split, where)
    if folder is not None:
        where = f"{where}/{folder}"
        entries = [entry for entry in entries if entry.path.startswith(f"{folder}/")]
    begin = 0 if folder is None else len(folder) + 1
    chosen = [entry for entry in entries if _is_image(entry.path)]
    require(bool(chosen), f"{where}: no images; looked for {', '.join(SUFFIXES)} at any depth")
    others = [entry.path[begin:] for entry in entries if not _is_image(entry.path)]
    below = [entry.path[begin:] for entry in chosen]
    numbers = _stylegan_labels(tree, entries, begin, where)
    if numbers is None:
        class_names, labels = _by_folder(below, others, where)
    else:
        others.remove(_LABELS)
        class_names, labels, more = _by_number(below, numbers, f"{where}/{_LABELS}")
        notes += more
    notes += _ignored(others, where)
    return Listing(
        tree=tree,
        paths=[entry.path for entry in chosen],
        labels=labels,
        stamps=[(entry.size, entry.stamp) for entry in chosen],
        class_names=class_names,
        held_out=held,
        notes=tuple(notes),
    )


def _is_image(path: str) -> bool:
    return path[path.rfind(".") :].lower() in SUFFIXES


def _split_folder(
    entries: Sequence[Entry], split: str, where: str
) -> tuple[str | None, str | None, list[str]]:
    """Finds the top folder that holds a split.

    Returns: the folder's name, or None if the whole root is the split; the name of the split that
      it is held against, or None; and notes to print.
    """
    images = [entry.path for entry in entries if _is_image(entry.path)]
    folders = list(dict.fromkeys(path.partition("/")[0] for path in images if "/" in path))
    named = [name for name in folders if name.lower() in _SPLITS]
    others = [name for name in folders if name not in named]
    alike = [name for name in named if _SPLITS[name.lower()] == _SPLITS.get(split.lower())]
    if split == DataConfig.split and not alike and (others or not named):
        note = f"{where}: all folders are classes, {_listed(named)} too, since "
        return None, None, [f"{note}{_listed(others)} are not splits"] if named else []
    if split == DataConfig.split and others and len(named) == 1:
        raise ConfigError(
            f"{where} has folders {named[0]} and {_listed(others)}: is {named[0]} a split or a "
            "class? Give that folder itself if it is a split, or rename it if it is a class"
        )
    used = split if split in folders else alike[0] if len(alike) == 1 else None
    if used is None:
        raise unknown_split(split, where, named or folders)
    note = f"{where}: split {split} is the folder {used}, one of {_listed(folders)}"
    beside = len(images) - sum("/" in path for path in images)
    return (
        used,
        held_out(split, named),
        [note + (f"; {beside:,} images beside them are not used" if beside else "")],
    )


def _by_folder(
    below: Sequence[str], others: Sequence[str], where: str
) -> tuple[tuple[str, ...], list[int]]:
    """Makes each top folder a class. Returns the class names, and the class of each image."""
    tops = [path.partition("/")[0] if "/" in path else None for path in below]
    if None in tops:
        above = below[tops.index(None)]
        if set(tops) != {None}:
            raise ConfigError(
                f"{where} has both images ({above}) and folders of images; allowed: one of the two"
            )
        return ("all",), [0] * len(below)
    number = {name: n for n, name in enumerate(dict.fromkeys(tops))}
    without = {path.partition("/")[0] for path in others if "/" in path} - set(number)
    require(not without, f"{where}: no images in class {_listed(sorted(without))}")
    names = tuple(unicodedata.normalize("NFC", str(name)) for name in number)
    twice = [name for name, count in Counter(names).items() if count > 1]
    require(not twice, f"{where}: class {_listed(twice)} exists twice, in two forms of Unicode")
    return names, [number[top] for top in tops]


def _stylegan_labels(
    tree: Tree, entries: Iterable[Entry], begin: int, where: str
) -> dict[str, int] | None | list[None]:
    """Reads StyleGAN's `dataset.json`.

    Returns: the class number by path; an empty list if the file says that there are no labels;
      None if there is no such file.
    """
    paths = [entry.path for entry in entries if entry.path[begin:] == _LABELS]
    if not paths:
        return None
    with tree.open(paths[0]) as file:
        text = file.read(MAX_BYTES + 1)
    require(len(text) <= MAX_BYTES, f"{where}/{_LABELS}: more than {MAX_BYTES} bytes")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}/{_LABELS}: not JSON ({error})") from error
    if not isinstance(content, dict) or "labels" not in content:
        return None  # of another program
    if content["labels"] is None:
        return []
    try:
        found = {str(path).replace("\\", "/"): number for path, number in content["labels"]}
    except (TypeError, ValueError):
        found = {}
    fits = all(type(n) is int and 0 <= n < _MAX_CLASSES for n in found.values())
    require(
        bool(found) and fits,
        f'{where}/{_LABELS}: "labels"; allowed: null, or pairs of a path and a class from 0 to '
        f'{_MAX_CLASSES - 1}, such as ["00000/img00000000.png", 6]',
    )
    return found


def _by_number(
    below: Sequence[str], numbers: dict[str, int] | list[None], where: str
) -> tuple[tuple[str, ...], list[int], list[str]]:
    """Returns the class names that follow from `numbers`, each image's class, and notes."""
    if not isinstance(numbers, dict):
        return ("all",), [0] * len(below), [f"{where}: no labels, so there are no classes"]
    absent = [path for path in below if path not in numbers]
    require(
        not absent, f"{where}: {len(absent)} of {len(below)} images lack a label: {_listed(absent)}"
    )
    names = tuple(str(n) for n in range(max(numbers.values()) + 1))
    notes = [f"{where}: labels of {len(names)} classes are read from it"]
    if len(numbers) > len(below):
        notes.append(f"{where}: it lists {len(numbers) - len(below)} files that do not exist")
    return names, [numbers[path] for path in below], notes


def _ignored(others: Sequence[str], where: str) -> list[str]:
    """Returns notes that count the files that are not images, and name likely label files."""
    if not others:
        return []
    counts = Counter(Path(path).suffix.lower() or "without ending" for path in others)
    parts = [f"{count:,} {ending}" for ending, count in counts.most_common(_SHOWN_ENDINGS)]
    rest = sum(counts.values()) - sum(n for _, n in counts.most_common(_SHOWN_ENDINGS))
    parts += [f"{rest:,} with other endings"] if rest else []
    notes = [f"{where}: ignored, since they are not images: {', '.join(parts)}"]
    tables = [path for path in others if _may_hold_labels(path)]
    if tables:
        notes.append(
            f"{where}: {_listed(tables)} may hold labels, which are not read: classes are folders, "
            f"or come from StyleGAN's {_LABELS}"
        )
    return notes


def _may_hold_labels(path: str) -> bool:
    name = Path(path)
    return name.suffix.lower() in _TABLES or (
        name.suffix.lower() == ".txt" and bool(_SAYS_LABELS.search(name.stem))
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
