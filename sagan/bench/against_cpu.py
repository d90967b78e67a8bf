"""Compares this device with the CPU: forward passes and one training step from fixed inputs.

`python -m sagan.bench.against_cpu FILE.npz CONFIG …` computes these numbers on one device. Those of
the CPU are computed in a process of its own. Matrix products have the highest precision on both.
"""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from sagan.bench import children, setup
from sagan.bench.timing import say
from sagan.config import ConfigError, presets

# Allowed norm of the difference, divided by the norm of the CPU's array. Losses and gradients pass
# through two networks, so they may differ more.
TOLERANCES = {"forward": 1e-4, "step": 1e-3}
_GAMMA = 0.5  # of attention: with its initial value, 0, a wrong attention map would have no effect
# Scalars of a step. Accuracies are left out, since a logit near 0 may have either sign.
_COMPARED = ("loss", "logits", "grad_norm", "gamma", "sigma")


def against_cpu(words: Sequence[str]) -> dict[str, Any]:
    """Compares this machine's default device with its CPU.

    Args:
      words: a config and overrides; the result depends on the networks and the batch.

    Returns: `rows`, one for each quantity, and `agree`.

    Raises: ConfigError if the CPU's process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cpu.npz"
        say("computing on the CPU")
        command = [sys.executable, "-m", "sagan.bench.against_cpu", str(path), *words]
        status, _ = children.run(command, env=os.environ | {"JAX_PLATFORMS": "cpu"})
        if status:
            raise ConfigError(f"the process that computes on the CPU ended with {status}")
        with np.load(path, allow_pickle=False) as file:
            expected = dict(file)
    say("computing on this device")
    rows = compared(compute(words), expected)
    return {
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "against": "cpu",
        "agree": all(row["agrees"] for row in rows),
        "rows": rows,
    }


def compared(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    """Returns a row for each quantity: its relative difference, and whether that is tolerated.

    The first word of a quantity's name, `forward` or `step`, selects the tolerance. A difference
    that is NaN is not tolerated.
    """
    rows = []
    for name, value in expected.items():
        scale = float(np.linalg.norm(value)) or 1.0
        difference = float(np.linalg.norm(found[name] - value)) / scale
        tolerance = TOLERANCES[name.split()[0]]
        row = {"quantity": name, "relative_difference": difference, "tolerance": tolerance}
        rows.append(row | {"agrees": bool(difference <= tolerance)})
    return rows


def compute(words: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns what is compared, by name (`forward …`, `step …`), from this process's device."""
    with jax.default_matmul_precision("highest"):
        trained = setup.Setup(presets.load(words[0], [*words[1:], *setup.COMPARABLE]))
        state = jax.tree_util.tree_map_with_path(_with_attention, trained.create())
        found = {f"forward {name}": x for name, x in trained.forward(state).items()}
        step = trained.compile(trained.dispatch())
        state, scalars = step(state, trained.pipeline.data, next(trained.batches))
    for name, value in trained.devices.fetch(scalars).items():
        if name.partition("/")[0] in _COMPARED:
            found[f"step {name}"] = value
    for name, value in trained.gradients(state).items():
        found[f"step gradient/{name}"] = value
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


def _with_attention(path: Any, x: Any) -> Any:
    return x + _GAMMA if "gamma" in jax.tree_util.keystr(path[-1:]) else x


def main(argv: Sequence[str]) -> None:
    path, found = Path(argv[0]), compute(argv[1:])
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **found)


if __name__ == "__main__":
    main(sys.argv[1:])
