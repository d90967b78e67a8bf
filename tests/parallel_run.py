"""Plays the tiny game in several arrangements of this process's devices; for test_parallel.

Run: python parallel_run.py FOLDER STEPS FORM:DEVICES ...
Writes FORM-DEVICES.npz (state, scalars of every step, samples) and FORM-DEVICES.json (the
compiled step's FLOPs on each device, and the collectives in it).
"""

import functools
import json
import re
import sys
from pathlib import Path

import jax
import numpy as np
from tiny import CONFIG, changed

from sagan import data, sampler, train_step
from sagan.data._pipeline import Pipeline
from sagan.mesh import Devices

# Adam divides a gradient by its own size. Where the true gradient is 0 (a bias in front of batch
# norm) what is left is rounding, and Adam makes it a step of the learning rate in a random
# direction. With this epsilon rounding stays rounding.
GAME = changed(
    CONFIG,
    optim={"epsilon": 1e-4},
    train={"batch_size": 64, "d_steps_per_g_step": 1, "steps": 100},
)
_COLLECTIVE = re.compile(
    r"= [^=]*? ([a-z-]+)\(.*(?:replica_groups|source_target_pairs|channel_id)="
)


def play(form, count, steps):
    seam = Devices(form, jax.devices()[:count])
    gan = train_step.build(GAME, count)
    pipeline = Pipeline(GAME, data.load(GAME.data, 8), seam, 1)
    program = seam.compile(functools.partial(train_step.program, gan), Pipeline.BATCH_AXIS)
    state = seam.create(functools.partial(train_step.init, gan))
    batches, history = pipeline.batches(0), []
    batch = next(batches)
    compiled = program.lower(state, pipeline.data, batch).compile()
    for _ in range(steps):
        state, scalars = compiled(state, pipeline.data, batch)
        history.append(seam.fetch(scalars))
        batch = next(batches)
    leaves, _ = jax.tree_util.tree_flatten_with_path(seam.fetch(state))
    saved = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    for name in history[0]:
        saved[f"scalar {name}"] = np.stack([scalars[name] for scalars in history])
    variables = sampler.refresh(GAME, seam.local(state))
    z = sampler.draw_latents(0, np.arange(8), GAME.model.z_dim)
    saved["samples"] = sampler.generate(GAME, variables, z, np.arange(8) % 4)
    text = compiled.as_text()
    about = {
        "flops": compiled.cost_analysis()["flops"],
        "collectives": sorted(set(_COLLECTIVE.findall(text))),
    }
    return saved, about


def main(folder, steps, *arrangements):
    for arrangement in arrangements:
        form, count = arrangement.split(":")
        saved, about = play(form, int(count), int(steps))
        np.savez(Path(folder) / f"{form}-{count}.npz", **saved)
        (Path(folder) / f"{form}-{count}.json").write_text(json.dumps(about))
        print(arrangement, about, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
