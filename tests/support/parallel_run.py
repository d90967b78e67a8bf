"""Plays tiny games in several arrangements of this process's devices; for test_parallel.

Run: python parallel_run.py FOLDER STEPS SEEDS NETWORKS:FORM:DEVICES ...
Writes NETWORKS-FORM-DEVICES-SEED.npz (state, scalars of every step) and, for SAGAN's networks,
NETWORKS-FORM-DEVICES.json (the collectives of the compiled step, and each device's FLOPs for a
batch that is worth dividing). All arrangements and seeds of the same networks start alike.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
from support.tiny import CONFIG, DENSE
from support.training import Training

from sagan.config import replace

# Adam divides a gradient by its own size. Where the true gradient is 0 (a bias in front of batch
# norm) what is left is rounding, and Adam makes it a step of the learning rate in a random
# direction. With this epsilon rounding stays rounding.
GAMES = {
    name: replace(
        config,
        optim={"epsilon": 1e-4},
        train={"batch_size": 8, "d_steps_per_g_step": 1, "steps": 100},
    )
    for name, config in {"sagan": CONFIG, "dense": DENSE}.items()
}
# How the work is divided does not depend on the networks, and small ones are traced soon.
LARGE = replace(GAMES["dense"], train={"batch_size": 512})
_COLLECTIVE = re.compile(r" ([a-z][a-z-]*)\(.*(?:replica_groups|source_target_pairs|channel_id)=")


class Arrangement:
    """A training on so many devices, from a state on the host; compiled once for all seeds."""

    def __init__(self, training, first):
        self.training, self.first = training, first
        self.compiled = lowered(training, first).compile()

    def play(self, seed, steps):
        """Returns the last state by path, and each step's scalars."""
        training = self.training
        config = dataclasses.replace(training.config, seed=seed)
        carried, whole, batches = start(training, self.first, config)
        history = []
        for _ in range(steps):
            carried, scalars = self.compiled(carried, whole, next(batches))
            history.append(training.devices.fetch(scalars))
        leaves, _ = jax.tree_util.tree_flatten_with_path(training.devices.fetch(carried))
        saved = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
        for name in history[0]:
            saved[f"scalar {name}"] = np.stack([scalars[name] for scalars in history])
        return saved


def start(training, first, config):
    """Returns this state with the config's seed, the data and batches."""
    pipeline = training.open_pipeline(config)
    first = first._replace(key=jax.random.key_data(jax.random.key(config.seed)))
    batches = pipeline.batches((step, 1) for step in range(100))
    return training.devices.replicate(first), pipeline.data, batches


def lowered(training, first):
    carried, whole, batches = start(training, first, training.config)
    return training.program.lower(carried, whole, next(batches))


def main(folder, steps, seeds, *arrangements):
    firsts = {}

    def first(training, name):
        """Returns the first state of these networks, which is made once."""
        if name not in firsts:
            firsts[name] = training.devices.fetch(training.start())
        return firsts[name]

    for arrangement in arrangements:
        networks, form, count = arrangement.split(":")
        training = Training(GAMES[networks], form=form, devices=int(count))
        game = Arrangement(training, first(training, networks))
        path = Path(folder) / arrangement.replace(":", "-")
        for seed in range(int(seeds)):
            np.savez(f"{path}-{seed}.npz", **game.play(seed, int(steps)))
        if networks == "sagan":
            large = Training(LARGE, form=form, devices=int(count))
            about = {
                "flops": lowered(large, first(large, "dense")).cost_analysis()["flops"],
                "collectives": sorted(set(_COLLECTIVE.findall(game.compiled.as_text()))),
            }
            path.with_suffix(".json").write_text(json.dumps(about))


if __name__ == "__main__":
    main(*sys.argv[1:])
