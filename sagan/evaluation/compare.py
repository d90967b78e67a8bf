"""Prints results side by side, if they were measured in the same way; means over seeds, tests."""

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sagan.config import Config, ConfigError
from sagan.config import as_json as config_json
from sagan.config.fields import require
from sagan.evaluation import presentation, protocol, results
from sagan.files import places
from sagan.runs import checkpoint


class Result(NamedTuple):
    """The scores of one checkpoint, or of images.

    Attributes:
      name: how it is called in a table.
      experiment: the same for runs that differ in nothing but the seed, at one step.
      seed: of the run; None if the result is not of a run.
    """

    name: str
    metrics: Mapping[str, float]
    protocol: Mapping[str, Any]
    experiment: str
    seed: int | None


class Spread(NamedTuple):
    """Mean and standard deviation (of a sample, n - 1) of one score over seeds."""

    mean: float
    sd: float
    n: int

    def __str__(self) -> str:
        return f"{results.number(self.mean)} ± {results.number(self.sd)}"


def run(texts: Sequence[str], *, as_json: bool = False) -> None:
    """Prints the scores that all results have in common.

    Runs that differ in nothing but their seed are one experiment. One of two seeds or more has a
    row with mean ± standard deviation, and two such are compared by Welch's t-test. Two results
    alone have a row with their difference.

    Args:
      texts: files of results, or work directories, which stand for the result of their last step.

    Raises: ConfigError if there is no such result, if they have no score in common, if their
      fingerprints differ (the message lists the fields that do), or if one run is given twice
      among three or more.
    """
    found = [load(text) for text in texts]
    require(len(found) >= 2, f"{len(found)} result; allowed: two or more")
    keys = _common_keys(found)
    experiments = by_experiment(found)
    means = {
        f"{found[members[0]].name} and {len(members) - 1} more seeds": {
            key: spread([found[number].metrics[key] for number in members]) for key in keys
        }
        for members in experiments
        if len(members) > 1
    }
    tests = [
        (a, b, {key: welch(means[a][key], means[b][key]) for key in keys})
        for a, b in itertools.combinations(means, 2)
    ]
    first, last = found[0].metrics, found[-1].metrics
    change = {key: last[key] - first[key] for key in keys} if len(found) == 2 else {}
    if as_json:
        print(json.dumps(_as_json(found, keys, change, means, tests)))
        return
    rows: list[tuple[str, Mapping[str, Any]]] = [
        (one.name, {key: one.metrics[key] for key in keys}) for one in found
    ]
    rows += [("difference", change)] if change else []
    rows += means.items()
    rows += [(f"p ({a} / {b})", p) for a, b, p in tests]
    print(presentation.score_table(rows, "result"))


def _common_keys(found: Sequence[Result]) -> list[str]:
    """Returns the scores that all have. Raises: ConfigError if there is none, or they differ."""
    first = found[0]
    for other in found[1:]:
        differing = protocol.differences(first.protocol, other.protocol)
        require(
            not differing,
            f"{first.name} and {other.name} are not comparable, measured with different "
            f"{'; '.join(differing)}",
        )
    keys = [key for key in first.metrics if all(key in other.metrics for other in found)]
    each = "; ".join(f"{one.name} has {', '.join(one.metrics)}" for one in found)
    require(bool(keys), f"no score in common: {each}")
    return keys


def _as_json(
    found: Sequence[Result],
    keys: Sequence[str],
    change: Mapping[str, float],
    means: Mapping[str, Mapping[str, Spread]],
    tests: Sequence[tuple[str, str, Mapping[str, float]]],
) -> dict[str, Any]:
    shown: dict[str, Any] = {"protocol": found[0].protocol}
    if change:
        a, b = found
        shown |= {"a": a.name, "b": b.name}
        shown["metrics"] = {
            key: {"a": a.metrics[key], "b": b.metrics[key], "difference": change[key]}
            for key in keys
        }
    return shown | {
        "results": [
            {"name": one.name, "seed": one.seed, "metrics": {key: one.metrics[key] for key in keys}}
            for one in found
        ],
        "means": {
            name: {key: one._asdict() for key, one in row.items()} for name, row in means.items()
        },
        "welch": [{"a": a, "b": b, "p": _known(p)} for a, b, p in tests],
    }


def _known(values: Mapping[str, float]) -> dict[str, float | None]:
    """Returns None for NaN, which JSON does not have."""
    return {key: None if math.isnan(value) else value for key, value in values.items()}


def load(text: str) -> Result:
    """Reads the result that an argument stands for.

    Raises: ConfigError if there is none.
    """
    path = places.local(text)
    if not path.is_dir():
        return _result(text, results.read(path), path)
    scored = results.read_all(path)
    if not scored:
        raise ConfigError(f"{path} has no {results.FOLDER}/<step>.json; run `sagan eval {path}`")
    step = max(scored)
    return _result(f"{path}:{step}", scored[step], results.path_of(path, step))


def _result(name: str, stored: Mapping[str, Any], file: Path) -> Result:
    """Makes a result of what is stored in a file, which is of a run if it lies in its `eval/`."""
    folder, seed = file.absolute().parent, None
    experiment = str(file.absolute())
    if folder.name == results.FOLDER and (folder.parent / "config.json").is_file():
        config = checkpoint.read_config(folder.parent)
        experiment, seed = f"{experiment_of(config)} {stored.get('step')}", config.seed
    return Result(name, stored["metrics"], stored["protocol"], experiment, seed)


def experiment_of(config: Config) -> str:
    """Returns a text that is the same for configs of which only the seed makes another run."""
    fields = {key: value for key, value in config_json.identity(config).items() if key != "seed"}
    return json.dumps(fields, sort_keys=True)


def by_experiment(found: Sequence[Result]) -> list[list[int]]:
    """Returns the numbers of the results of each experiment, in the order of their first ones.

    Raises: ConfigError if one run is there twice among three or more; two of the same are set side
      by side.
    """
    members: dict[str, list[int]] = {}
    for number, one in enumerate(found):
        members.setdefault(one.experiment, []).append(number)
    for same in members.values():
        seeds = [found[number].seed for number in same]
        if len(set(seeds)) < len(seeds):
            called = ", ".join(found[number].name for number in same)
            require(len(found) == 2, f"{called}: the same run twice, of seeds {seeds}")
            return [[0], [1]]
    return list(members.values())


def spread(values: Sequence[float]) -> Spread:
    """Returns mean and standard deviation of two values or more."""
    array = np.array(values, np.float64)
    return Spread(float(array.mean()), float(array.std(ddof=1)), len(array))


def welch(a: Spread, b: Spread) -> float:
    """Returns the two-sided p-value of Welch's t-test that two means are equal; NaN without spread.

    Source: Welch (1947), Biometrika 34, 28-35; computed by scipy.
    """
    from scipy import stats

    with np.errstate(divide="ignore", invalid="ignore"):
        return float(stats.ttest_ind_from_stats(*a, *b, equal_var=False).pvalue)
