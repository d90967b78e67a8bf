"""The same numbers here as on the CPU: forward passes and one training step, fixed inputs.

`python -m sagan.bench.agree FILE.npz CONFIG …` computes one side; the CPU's runs so, in a process
of its own. Both at the highest precision of matrix products.
"""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan.bench import programs
from sagan.bench.game import Game
from sagan.bench.timing import say
from sagan.config import ConfigError, presets
from sagan.models.layers import spectral

# Relative, in the 2-norm of the whole array. Losses and gradients pass through two networks.
TOLERANCES = {"forward": 1e-4, "step": 1e-3}
# One update of each player in float32, and D as good as unmoved when G meets it: what Adam makes
# of gradients near 0 would otherwise be compared too.
_FIXED = ("model.dtype=float32", "train.d_steps_per_g_step=1", "train.steps_per_dispatch=1",
          "optim.d_learning_rate=1e-12", "optim.beta1=0")  # fmt: skip
_GATE = 0.5  # of attention, which at its initial 0 would hide the maps


def against_cpu(words: Sequence[str]) -> dict[str, Any]:
    """Compares this machine's default device with its CPU.

    Args:
      words: config and overrides, as typed; the networks and the batch are what counts.

    Returns: a row for each quantity, and `agree`.

    Raises: ConfigError if the CPU's side fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cpu.npz"
        say("the CPU's side")
        command = [sys.executable, "-m", "sagan.bench.agree", str(path), *words]
        status, _ = programs.run(command, env=os.environ | {"JAX_PLATFORMS": "cpu"})
        if status:
            raise ConfigError(f"the CPU's side ended with {status}")
        with np.load(path, allow_pickle=False) as file:
            expected = dict(file)
    say("this device's side")
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
    """Relative differences; the tolerance goes by the first word of the quantity's name."""
    rows = []
    for name, value in expected.items():
        scale = float(np.linalg.norm(value)) or 1.0
        difference = float(np.linalg.norm(found[name] - value)) / scale
        tolerance = TOLERANCES[name.split()[0]]
        # A difference that is no number agrees with nothing.
        row = {"quantity": name, "relative_difference": difference, "tolerance": tolerance}
        rows.append(row | {"agrees": bool(difference <= tolerance)})
    return rows


def compute(words: Sequence[str]) -> dict[str, np.ndarray]:
    """Computes one side, in float64 for comparing."""
    with jax.default_matmul_precision("highest"):
        game = Game(presets.load(words[0], [*words[1:], *_FIXED]))
        state = jax.tree_util.tree_map_with_path(_opened, game.create())
        found = {f"forward {name}": x for name, x in _forward(game, state).items()}
        state, scalars = game.compile()(state, game.pipeline.data, next(game.batches))
        step = {k: v for k, v in game.devices.fetch(scalars).items() if "accuracy" not in k}
        state = game.devices.fetch(state)
    for name, player in (("g", state.g), ("d", state.d)):
        # With beta1 = 0 Adam's first moment is the gradient.
        leaves = [np.ravel(x) for x in jax.tree.leaves(player.opt_state[0].mu)]
        step[f"gradient/{name}"] = np.concatenate(leaves)
    found |= {f"step {name}": x for name, x in step.items()}
    return {name: np.asarray(x, np.float64) for name, x in found.items()}


def _opened(path: Any, x: jax.Array) -> jax.Array:
    return x + _GATE if "gamma" in jax.tree_util.keystr(path[-1:]) else x


def _forward(game: Game, state: Any) -> dict[str, Any]:
    """Images, attention maps and logits, with the weights normalised as in training."""
    config = game.config
    rng = np.random.default_rng(0)
    size = config.train.batch_size
    z = rng.normal(size=(size, config.model.z_dim)).astype(np.float32)
    classes = config.model.num_classes
    label = np.arange(size, dtype=np.int32) % classes if isinstance(classes, int) else None

    @jax.jit
    def run(g: Any, d: Any, z: jax.Array, label: jax.Array | None) -> dict[str, Any]:
        weights = [
            spectral.normalize(p.params, spectral.iterate(p.params, p.stats["spectral_stats"]))
            for p in (g, d)
        ]
        variables = {"params": weights[0], "batch_stats": g.stats["batch_stats"]}
        apply: Any = game.gan.generator.apply
        image, moved = apply(variables, z, label, train=False, mutable=["intermediates"])
        logits = game.gan.discriminator.apply({"params": weights[1]}, image, label, train=False)
        maps = {
            f"map/{layer}": found["attention"][0]
            for layer, found in moved.get("intermediates", {}).items()
        }
        return {"image": image, "logits": logits, **maps}

    return jax.device_get(run(state.g, state.d, jnp.asarray(z), label))


def main(argv: Sequence[str]) -> None:
    path, found = Path(argv[0]), compute(argv[1:])
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **found)


if __name__ == "__main__":
    main(sys.argv[1:])
