"""Scores over steps; those of several runs over one another, if they were measured alike."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sagan.config import Config
from sagan.evaluation import compare, presentation, protocol, results
from sagan.training.report.curves import rounded

_PARTS = ("_sd", "_worst")  # of another score


def lay_over(
    runs: Sequence[dict[str, Any]], folders: Sequence[Path], configs: Sequence[Config]
) -> None:
    """Adds to each run its scores over steps, its experiment, and the mean over its seeds.

    A score that was measured otherwise than that of the first run which has it is not laid over
    it: the run's `apart` says in which fields the two protocols differ.
    """
    first: dict[str, presentation.Curve] = {}
    experiments = _experiments(configs)
    for run, folder, experiment in zip(runs, folders, experiments, strict=True):
        run["experiment"] = experiment
        run["scored"], run["apart"] = {}, {}
        for key, curve in presentation.curves(folder).items():
            if key.endswith(_PARTS):
                continue
            other = first.setdefault(key, curve)
            differing = protocol.differences(other.protocol, curve.protocol)
            if differing:
                run["apart"][key] = "; ".join(differing)
            values = {step: scores[key] for step, scores in curve.scores.items()}
            run["scored"][key] = [
                [step, rounded(value)] for step, value in values.items() if math.isfinite(value)
            ]
    for number, run in enumerate(runs):
        if experiments[number] == number:
            run["means"] = _means([r for r in runs if r["experiment"] == number])


def _experiments(configs: Sequence[Config]) -> list[int]:
    """Returns for each run the number of the first run of its experiment.

    An experiment has each seed once. Of one that has a seed twice every run counts for itself,
    because the spread over its runs is not that over seeds.
    """
    texts = [compare.experiment_of(config) for config in configs]
    seen = Counter(zip(texts, [config.seed for config in configs], strict=True))
    doubled = {text for (text, _), count in seen.items() if count > 1}
    return [n if text in doubled else texts.index(text) for n, text in enumerate(texts)]


def _means(members: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """Returns `[key, mean ± sd, step]` of the last scores that all seeds have, measured alike."""
    if len(members) < 2:
        return []
    found = []
    for key in members[0]["scored"]:
        if all(run["scored"].get(key) and key not in run["apart"] for run in members):
            last = [run["scored"][key][-1] for run in members]
            if len({step for step, _ in last}) == 1:
                spread = compare.spread([value for _, value in last])
                number = results.number
                found.append([key, f"{number(spread.mean)} ± {number(spread.sd)}", last[0][0]])
    return found
