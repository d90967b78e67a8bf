"""Which images a set holds, in a few bytes, so that a run notices when they change.

The text for each class is the number of its images and a hash of their names and sizes in bytes, in
order. It does not depend on where the set lies, nor on the time at which files were written.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from sagan.data import Source

_SHOWN = 5
_ALL = "all images"


def of(source: Source) -> dict[str, str]:
    """Returns the text of each class; that of all images together if the source has none of these.

    A source may have an attribute `contents`, made with `listed`. Without one, only the number of
    images counts.
    """
    found = getattr(source, "contents", None)
    return found if found is not None else listed([(_ALL, "", 0)] * len(source))


def listed(files: Iterable[tuple[str, str, int]]) -> dict[str, str]:
    """Returns the text of each class of some files: class name, path, and size in bytes of each."""
    counts: dict[str, int] = {}
    digests = {}
    for name, path, size in files:
        counts[name] = counts.get(name, 0) + 1
        digest = digests.setdefault(name, hashlib.sha256())
        file = unicodedata.normalize("NFC", path.rpartition("/")[2])
        digest.update(f"{file!r} {size}\n".encode())
    return {name: f"{count} {digests[name].hexdigest()[:16]}" for name, count in counts.items()}


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Describes which classes have other images now; empty if none has."""
    found: list[str] = []
    for name in {**before, **now}:
        old, new = before.get(name, "0"), now.get(name, "0")
        if old == new:
            continue
        numbers = [int(text.partition(" ")[0]) for text in (old, new)]
        same = numbers[0] == numbers[1]
        what = f"other {numbers[0]:,}" if same else f"{numbers[0]:,} -> {numbers[1]:,}"
        found.append(f"{name}: {what} images")
    return _joined(found)


def _joined(parts: Sequence[str]) -> str:
    more = f" and {len(parts) - _SHOWN:,} more classes" if len(parts) > _SHOWN else ""
    return "; ".join(parts[:_SHOWN]) + more
