"""Shows all results of `sagan bench --suite` on one page. Imports no jax."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sagan.files.tables import shown

Rows = list[dict[str, Any]]


def page(folder: Path) -> tuple[str, list[str]]:
    """Reads the JSON files of a folder.

    Returns: the page as Markdown, and a line for each thing that failed or differs.
    """
    wrong = [f"{path.name}: see log/" for path in sorted(folder.glob("*.failed"))]
    unread = [path.name for path in sorted(folder.glob("*.json")) if read(path) is None]
    wrong += [f"{name}: its last line is not a JSON object" for name in unread]
    parts = [
        _agreement(folder, wrong),
        *_speed(folder),
        *_training(folder),
        *_precision(folder, wrong),
    ]
    head = ["# sagan on one machine", ""]
    machine = folder / "machine.txt"
    head += [f"- {line}" for line in machine.read_text().splitlines()] if machine.exists() else []
    head += [f"- **wrong** {line}" for line in wrong] or ["- Nothing failed."]
    return "\n".join([*head, "", *filter(None, parts)]), wrong


def _agreement(folder: Path, wrong: list[str]) -> str:
    found = read(folder / "agree.json")
    if found is None:
        return _absent("The same numbers as on the CPU")
    if not found["agree"]:
        wrong.append("agree.json: this device's numbers differ from the CPU's")
    verdict = "agree" if found["agree"] else "DIFFER"
    title = f"The same numbers as on the CPU: they {verdict} ({found['devices']})"
    return _section(title, found["rows"])


def _speed(folder: Path) -> Iterable[str]:
    rows = [_row(found) for _, found in _results(folder, "bench_*.json")]
    yield _section("Speed", rows) if rows else _absent("Speed")
    peers = [
        _setting(path) | {"form": path.stem.split("_")[4]}
        | {"images_per_second": found.get("images_per_second")}
        for path, found in _results(folder, "peer_*.json")
    ]  # fmt: skip
    yield _section("The other program, alone", peers) if peers else _absent("The other program")
    turns = [
        _setting(path)
        | {
            "ours, images/s": found["train"]["images_per_second"],
            "theirs": row["images_per_second"],
            "ours over theirs": row["ours_over_theirs"],
            "quartiles": row["ours_over_theirs_quartiles"],
        }
        for path, found in _results(folder, "beside_*.json")
        for row in found.get("beside", [])
    ]
    if turns:
        yield _section("By turns", turns)
    for name, about in (
        ("sweep_batch", "Batch against cost"),
        ("sweep_size", "Size against cost"),
        ("attention_float32", "Forms of attention, float32"),
        ("attention_bfloat16", "Forms of attention, bfloat16"),
    ):
        found = read(folder / f"{name}.json")
        yield _section(about, found["rows"], f"{name}.png") if found else _absent(about)


def _setting(path: Path) -> dict[str, Any]:
    """Reads size, batch and dtype from a name of the form KIND_SIZE_BATCH_DTYPE."""
    _, size, batch, dtype, *_ = path.stem.split("_")
    return {"size": int(size), "batch": int(batch), "type": dtype}


def _row(found: Mapping[str, Any]) -> dict[str, Any]:
    train, start = found["train"], found.get("start") or {}
    feed = found.get("input", {}).get("feed", {})
    return {
        "config": found["config"],
        "type": found["dtype"],
        "attention": found.get("attention_form"),
        "batch": found["batch_size"],
        "images/s": train["images_per_second"],
        "quartiles": train["images_per_second_quartiles"],
        "ms/step": 1e3 * train["seconds_per_step"],
        "share of peak": train.get("share_of_peak"),
        "of a matrix product": train.get("share_of_measured_matmul"),
        "busy": train.get("busy_share"),
        "longest gap, s": train.get("longest_idle_seconds"),
        "peak bytes": train.get("peak_bytes_in_use", train.get("peak_bytes_per_device")),
        "feed over step": feed.get("times_what_training_takes"),
        "samples/s": found.get("sampling", {}).get("images_per_second"),
        "features/s": found.get("features", {}).get("images_per_second"),
        "first start, s": start.get("first"),
        "again over first": start.get("again_over_first"),
        "machine": found["devices"],
    }


def _training(folder: Path) -> Iterable[str]:
    rows = []
    for path, found in _results(folder, "score_*_*.json"):
        _, *name, judge = path.stem.split("_")
        row = {"images": "_".join(name), "network": judge, "step": found.get("step")}
        rows.append(row | found["metrics"])
    yield _section("Scores", rows) if rows else _absent("Scores")
    for path in sorted(folder.glob("*.seconds")):
        name = path.stem
        pictures = [f"{name}.png"]
        if (folder / f"curve_{name}.json").exists():
            pictures.append(f"{name}/eval/metrics.png")
        shown_pictures = [f"![]({place})" for place in pictures if (folder / place).exists()]
        about = f"`{name}` was trained for {path.read_text().strip()} s."
        yield "\n\n".join([about, *shown_pictures]) + "\n"


def _precision(folder: Path, wrong: list[str]) -> Iterable[str]:
    found = read(folder / "precision.json")
    if found is None:
        yield _absent("bfloat16 against float32")
        return
    if not found["within_noise"]:
        wrong.append("precision.json: bfloat16 scores differ from float32 scores")
    rows = [{"metric": name} | row for name, row in found["metrics"].items()]
    yield _section(f"bfloat16 against float32, seeds {found['seeds']}", rows)


def _results(folder: Path, pattern: str) -> Iterable[tuple[Path, Any]]:
    """Yields the files that match and can be read, with their content, in order of their names."""
    for path in sorted(folder.glob(pattern)):
        found = read(path)
        if found is not None:
            yield path, found


def read(path: Path) -> Any:
    """Reads the last line of a file; a program may have printed other things before it.

    Returns: None if there is no file, or that line is not a JSON object.
    """
    try:
        found = json.loads(path.read_text().strip().splitlines()[-1])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    return found if isinstance(found, dict) else None


def _absent(what: str) -> str:
    return f"## {what}\n\nNot measured.\n"


def _section(title: str, rows: Sequence[Mapping[str, Any]], picture: str = "") -> str:
    keys = [
        key
        for key in dict.fromkeys(key for row in rows for key in row)
        if any(row.get(key) is not None for row in rows)
    ]
    lines = [f"| {' | '.join(keys)} |", "|" + "---|" * len(keys)]
    for row in rows:
        cells = ["" if row.get(key) is None else shown(row[key]) for key in keys]
        lines.append(f"| {' | '.join(cells)} |")
    shown_picture = f"\n\n![]({picture})" if picture else ""
    return f"## {title}\n\n" + "\n".join(lines) + shown_picture + "\n"
