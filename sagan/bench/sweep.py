"""Measures the cost of the training step for several values of one field of the config."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.bench import measure, report
from sagan.bench.timing import say
from sagan.config import Config, ConfigError, presets

_KEPT = ("images_per_second", "seconds_per_step", "compile_seconds", "flops_per_device",
         "peak_bytes_per_device", "share_of_peak")  # fmt: skip


def configs(config: Config, text: str) -> list[tuple[float, Config]]:
    """Returns the numbers of `section.field=a,b,c`, each with a copy of the config that has it.

    Raises: ConfigError if the text has another form, or a number does not fit the field.
    """
    key, _, values = text.partition("=")
    found = []
    for value in values.split(","):
        try:
            number = float(value)
        except ValueError:
            raise ConfigError(f"--sweep {text}; wanted section.field=NUMBER,NUMBER,…") from None
        found.append((number, presets.override(config, [f"{key}={value.strip()}"])))
    return found


def run(base: Config, text: str, repeats: int) -> dict[str, Any]:
    """Times the training step once for each value of a field.

    Args:
      text: the field and its values, `section.field=a,b,c`.
      repeats: how often each step is timed.

    Returns:
      A description of the run, and `rows`: for each value, its speed, times and peak memory.
    """
    rows: list[dict[str, Any]] = []
    for value, config in configs(base, text):
        say(f"{text.partition('=')[0]}={value:g}")
        result = measure.measure(config, repeats=repeats, parts=("train",))
        train = result["train"]
        rows.append({"value": value} | {k: train[k] for k in _KEPT if k in train})
    head = ("config", "devices", "data", "dtype")
    return {k: result[k] for k in head} | {"sweep": text.partition("=")[0], "rows": rows}


def draw(result: dict[str, Any], path: Path) -> None:
    """Plots speed and, where known, peak memory against the field's values."""
    x = [row["value"] for row in result["rows"]]

    def panel(key: str, scale: float = 1.0) -> dict[str, tuple[Sequence[float], Sequence[float]]]:
        return {key: (x, [scale * row[key] for row in result["rows"]])}

    panels = {"real images per second": panel("images_per_second")}
    if all("peak_bytes_per_device" in row for row in result["rows"]):
        panels["peak memory, GiB"] = panel("peak_bytes_per_device", 2**-30)
    about = f"{result['config']}, {result['dtype']}, {result['devices']}"
    report.curves(path, panels, result["sweep"], title=about)
