"""Trains the tiny config in several arrangements of this process's devices; for test_parallel.

Run: python parallel_run.py FOLDER STEPS SEEDS FORM:DEVICES ...
Writes FORM-DEVICES-SEED.npz (state, scalars of every step, samples) and FORM-DEVICES.json (the
collectives of the compiled step, and the FLOPs of each device for a batch of 64).
"""

import dataclasses
import functools
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
from support.tiny import CONFIG, changed

from sagan import data
from sagan.data.pipeline import Feed, Pipeline
from sagan.parallel.devices import Devices
from sagan.tasks.gan import sampler
from sagan.tasks.gan import step as train_step

# Adam divides a gradient by its own size. Where the true gradient is 0, as for a bias in front of
# batch norm, only rounding errors are left, which Adam scales up to the learning rate. A larger
# epsilon keeps them small.
GAME = changed(
    CONFIG,
    optim={"epsilon": 1e-4},
    train={"batch_size": 8, "d_steps_per_g_step": 1, "steps": 100},
)
LARGE = changed(GAME, train={"batch_size": 64})
_COLLECTIVE = re.compile(r" ([a-z][a-z-]*)\(.*(?:replica_groups|source_target_pairs|channel_id)=")


class Arrangement:
    """A training on `count` devices; its step is compiled once for all seeds."""

    def __init__(self, config, form, count):
        self.config, self.seam = config, Devices(form, jax.devices()[:count])
        self.gan = train_step.build(config, count)
        self.source = data.load(config.data, 8)
        program = functools.partial(train_step.program, self.gan)
        self.program = self.seam.compile(program, Pipeline.BATCH_AXIS)

    def start(self, seed):
        config = dataclasses.replace(self.config, seed=seed)
        pipeline = Pipeline(
            Feed.of(config, config.train.d_steps_per_g_step), self.source, self.seam
        )
        init = functools.partial(train_step.init, self.gan._replace(config=config))
        return (
            self.seam.create(init),
            pipeline.data,
            pipeline.batches((step, 1) for step in range(100)),
        )

    def compiled(self):
        state, whole, batches = self.start(0)
        return self.program.lower(state, whole, next(batches)).compile()

    def play(self, seed, steps):
        state, whole, batches = self.start(seed)
        history = []
        for _ in range(steps):
            state, scalars = self.program(state, whole, next(batches))
            history.append(self.seam.fetch(scalars))
        leaves, _ = jax.tree_util.tree_flatten_with_path(self.seam.fetch(state))
        saved = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
        for name in history[0]:
            saved[f"scalar {name}"] = np.stack([scalars[name] for scalars in history])
        local = self.seam.local(state)
        variables = sampler.refresh(self.config, local.ema, local.g.stats["spectral_stats"])
        z = sampler.draw_latents(0, np.arange(8), self.config.model.z_dim)
        saved["samples"] = sampler.generate(self.config, variables, z, np.arange(8) % 4)
        return saved


def main(folder, steps, seeds, *arrangements):
    for arrangement in arrangements:
        form, count = arrangement.split(":")
        name = Path(folder) / f"{form}-{count}"
        game = Arrangement(GAME, form, int(count))
        for seed in range(int(seeds)):
            np.savez(f"{name}-{seed}.npz", **game.play(seed, int(steps)))
        large = Arrangement(LARGE, form, int(count)).compiled()
        about = {
            "flops": large.cost_analysis()["flops"],
            "collectives": sorted(set(_COLLECTIVE.findall(large.as_text()))),
        }
        name.with_suffix(".json").write_text(json.dumps(about))
        print(arrangement, about, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
