"""Prints two results side by side, if they were measured in the same way."""

import json
from typing import Any

from sagan.config import ConfigError
from sagan.evaluation import presentation, protocol, results
from sagan.files import places


def run(a: str, b: str, *, as_json: bool = False) -> None:
    """Prints the scores that two results have in common, and their differences.

    Args:
      a, b: files of results, or work directories, which stand for the result of their last step.

    Raises: ConfigError if there is no such result, if they have no score in common, or if their
      fingerprints differ; the message lists the fields that do.
    """
    (name_a, first), (name_b, second) = _load(a), _load(b)
    differing = protocol.differences(first["protocol"], second["protocol"])
    if differing:
        raise ConfigError(f"not comparable, measured with different {'; '.join(differing)}")
    values = {
        key: (value, second["metrics"][key])
        for key, value in first["metrics"].items()
        if key in second["metrics"]
    }
    if not values:
        raise ConfigError(
            f"no score in common: {name_a} has {', '.join(first['metrics'])}; "
            f"{name_b} has {', '.join(second['metrics'])}"
        )
    if as_json:
        metrics = {k: {"a": x, "b": y, "difference": y - x} for k, (x, y) in values.items()}
        report = {"a": name_a, "b": name_b, "protocol": first["protocol"], "metrics": metrics}
        print(json.dumps(report))
        return
    rows = [
        (name_a, {key: x for key, (x, _) in values.items()}),
        (name_b, {key: y for key, (_, y) in values.items()}),
        ("difference", {key: y - x for key, (x, y) in values.items()}),
    ]
    print(presentation.score_table(rows, "result"))


def _load(text: str) -> tuple[str, dict[str, Any]]:
    """Returns the name and the result that an argument stands for."""
    path = places.local(text)
    if path.is_dir():
        scored = results.read_all(path)
        if not scored:
            raise ConfigError(
                f"{path} has no {results.FOLDER}/<step>.json; run `sagan eval {path}`"
            )
        step = max(scored)
        return f"{path.name}:{step}", scored[step]
    return text, results.read(path)
