"""Trains the tiny GAN several times, each on other devices of this process; for test_parallel.

Run: python parallel_run.py FOLDER STEPS SEEDS MODEL FORM:DEVICES ...
Writes FORM-DEVICES-SEED.npz (state, scalars of every step) and FORM-DEVICES.json (the collectives
of the compiled step, and each device's FLOPs for a batch that is worth dividing). All arrangements
and seeds start with the same networks.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
from support.tiny import CONFIG
from support.training import Training

from sagan.config import replace

# Adam divides a gradient by its own size. Where the true gradient is 0 (a bias in front of batch
# norm) what is left is rounding, and Adam makes it a step of the learning rate in a random
# direction. With this epsilon rounding stays rounding.
GAME = replace(
    CONFIG,
    optim={"epsilon": 1e-4},
    train={"batch_size": 8, "d_steps_per_g_step": 1, "steps": 100},
)
LARGE = {"batch_size": 64}
_COLLECTIVE = re.compile(r" ([a-z][a-z-]*)\(.*(?:replica_groups|source_target_pairs|channel_id)=")


class Arrangement:
    """A training on so many devices, from a state on the host; compiled once for all seeds."""

    def __init__(self, training, first):
        self.training, self.first = training, first
        self.compiled = self.lowered(training.config).compile()

    def start(self, config):
        """Returns a state with this config's seed, data and batches."""
        training = self.training
        pipeline = training.open_pipeline(config)
        first = self.first._replace(key=jax.random.key_data(jax.random.key(config.seed)))
        batches = pipeline.batches((step, 1) for step in range(100))
        return training.devices.replicate(first), pipeline.data, batches

    def lowered(self, config):
        carried, whole, batches = self.start(config)
        return self.training.program.lower(carried, whole, next(batches))

    def play(self, seed, steps):
        """Returns the last state by path, and each step's scalars."""
        training = self.training
        carried, whole, batches = self.start(dataclasses.replace(training.config, seed=seed))
        history = []
        for _ in range(steps):
            carried, scalars = self.compiled(carried, whole, next(batches))
            history.append(training.devices.fetch(scalars))
        leaves, _ = jax.tree_util.tree_flatten_with_path(training.devices.fetch(carried))
        saved = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
        for name in history[0]:
            saved[f"scalar {name}"] = np.stack([scalars[name] for scalars in history])
        return saved

    def about(self):
        large = replace(self.training.config, train=LARGE)
        return {
            "flops": self.lowered(large).cost_analysis()["flops"],
            "collectives": sorted(set(_COLLECTIVE.findall(self.compiled.as_text()))),
        }


def main(folder, steps, seeds, model, *arrangements):
    first, config = None, replace(GAME, model={"name": model})
    for arrangement in arrangements:
        form, count = arrangement.split(":")
        training = Training(config, form=form, devices=int(count))
        if first is None:
            first = training.devices.fetch(training.start())
        game = Arrangement(training, first)
        name = Path(folder) / f"{form}-{count}"
        for seed in range(int(seeds)):
            np.savez(f"{name}-{seed}.npz", **game.play(seed, int(steps)))
        name.with_suffix(".json").write_text(json.dumps(game.about()))


if __name__ == "__main__":
    main(*sys.argv[1:])
