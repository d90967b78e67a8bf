"""Plays the tiny game in several arrangements of this process's devices; for test_parallel.

Run: python parallel_run.py FOLDER STEPS SEEDS FORM:DEVICES ...
Writes FORM-DEVICES-SEED.npz (state, scalars of every step, samples) and, for 1 and 8 devices,
FORM-DEVICES.json (the collectives of the compiled step, and each device's FLOPs for a batch that
is worth dividing).
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
from sagan.tasks.gan import generate

# Adam divides a gradient by its own size. Where the true gradient is 0 (a bias in front of batch
# norm) what is left is rounding, and Adam makes it a step of the learning rate in a random
# direction. With this epsilon rounding stays rounding.
GAME = replace(
    CONFIG,
    optim={"epsilon": 1e-4},
    train={"batch_size": 8, "d_steps_per_g_step": 1, "steps": 100},
)
LARGE = replace(GAME, train={"batch_size": 64})
_COLLECTIVE = re.compile(r" ([a-z][a-z-]*)\(.*(?:replica_groups|source_target_pairs|channel_id)=")


class Arrangement:
    """A training on so many devices; its step is compiled once for all seeds."""

    def __init__(self, config, form, count):
        self.training = Training(config, form=form, devices=count)
        self.first = self.training.devices.fetch(self.training.start())

    def start(self, seed):
        """Returns a state, data and batches. All seeds start with the same networks."""
        training = self.training
        pipeline = training.open_pipeline(dataclasses.replace(training.config, seed=seed))
        first = self.first._replace(key=jax.random.key_data(jax.random.key(seed)))
        batches = pipeline.batches((step, 1) for step in range(100))
        return training.devices.replicate(first), pipeline.data, batches

    def compiled(self):
        carried, whole, batches = self.start(0)
        return self.training.program.lower(carried, whole, next(batches)).compile()

    def play(self, seed, steps):
        training = self.training
        carried, whole, batches = self.start(seed)
        history = []
        for _ in range(steps):
            carried, scalars = training.program(carried, whole, next(batches))
            history.append(training.devices.fetch(scalars))
        leaves, _ = jax.tree_util.tree_flatten_with_path(training.devices.fetch(carried))
        saved = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
        for name in history[0]:
            saved[f"scalar {name}"] = np.stack([scalars[name] for scalars in history])
        snapshot = training.devices.local(training.task.snapshot(carried.task))
        variables = training.task.inference(snapshot)
        model = training.config.model
        z = generate.draw_latents(0, np.arange(8), model.z_dim)
        saved["samples"] = generate.images(model, variables, z, np.arange(8) % 4)
        return saved


def main(folder, steps, seeds, *arrangements):
    for arrangement in arrangements:
        form, count = arrangement.split(":")
        name = Path(folder) / f"{form}-{count}"
        game = Arrangement(GAME, form, int(count))
        for seed in range(int(seeds)):
            np.savez(f"{name}-{seed}.npz", **game.play(seed, int(steps)))
        if int(count) not in (1, 8):
            continue
        large = Arrangement(LARGE, form, int(count)).compiled()
        about = {
            "flops": large.cost_analysis()["flops"],
            "collectives": sorted(set(_COLLECTIVE.findall(large.as_text()))),
        }
        name.with_suffix(".json").write_text(json.dumps(about))
        print(arrangement, about, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
