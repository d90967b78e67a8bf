"""Sets two results side by side, if they were measured alike."""

import json
from pathlib import Path

from sagan.config import ConfigError
from sagan.evaluation import protocols, results


def run(a: str, b: str, *, as_json: bool = False) -> None:
    """Prints two results' scores and their differences.

    Args:
      a, b: result files, or work directories, which stand for their last result.

    Raises: ConfigError if there is no such result, no score in common, or their fingerprints
      differ; the text lists the fields.
    """
    (name_a, first), (name_b, second) = _load(a), _load(b)
    differing = protocols.differences(first["protocol"], second["protocol"])
    if differing:
        raise ConfigError(f"not comparable, measured with different {'; '.join(differing)}")
    shared = [key for key in first["metrics"] if key in second["metrics"]]
    if not shared:
        raise ConfigError(
            f"no score in common: {name_a} has {', '.join(first['metrics'])}; "
            f"{name_b} has {', '.join(second['metrics'])}"
        )
    values = {key: (first["metrics"][key], second["metrics"][key]) for key in shared}
    if as_json:
        print(json.dumps({"a": name_a, "b": name_b, "protocol": first["protocol"],
                          "metrics": {k: {"a": x, "b": y, "difference": y - x}
                                      for k, (x, y) in values.items()}}))  # fmt: skip
        return
    rows = [
        (name_a, {key: x for key, (x, _) in values.items()}),
        (name_b, {key: y for key, (_, y) in values.items()}),
        ("difference", {key: y - x for key, (x, y) in values.items()}),
    ]
    print(results.table(rows, "result"))


def _load(text: str) -> tuple[str, dict]:
    path = Path(text).expanduser()
    if path.is_dir():
        scored = results.read_all(path)
        if not scored:
            raise ConfigError(
                f"{path} has no {results.FOLDER}/<step>.json; run `sagan eval {path}`"
            )
        step = max(scored)
        return f"{path.name}:{step}", scored[step]
    return text, results.read(path)
