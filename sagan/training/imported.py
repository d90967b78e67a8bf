"""A work directory from networks that were trained elsewhere."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import unflatten_dict

from sagan.config import Config, GanTrainConfig, replace
from sagan.config.fields import require
from sagan.files import places
from sagan.runs import checkpoint
from sagan.runs.checkpoint import Checkpoints
from sagan.tasks.gan import inference, optimizer
from sagan.tasks.gan.imports import Imported
from sagan.tasks.gan.imports.filling import Network, Params
from sagan.tasks.gan.imports.optimizers import Moments
from sagan.tasks.gan.players import Player
from sagan.tasks.gan.step import GanState
from sagan.training.state import RunState


def require_new(out: Path) -> Path:
    """Returns a path for a work directory.

    Raises: ConfigError if there is anything already, or nothing can be written there.
    """
    out = places.local(out)
    require(
        not out.exists() or (out.is_dir() and not any(out.iterdir())),
        f"--out {out} exists; allowed: a new or an empty folder",
    )
    parent = next(path for path in out.absolute().parents if path.exists())
    require(
        parent.is_dir() and os.access(parent, os.W_OK),
        f"--out {out}: {parent} is not a folder that can be written to",
    )
    return out


def write(imported: Imported, out: Path, *, statistics_batches: int | None = None) -> None:
    """Writes a work directory with one checkpoint, complete or not at all.

    It can be sampled, scored, exported and started from. If the source had a discriminator and both
    optimizers, a training can go on from it as well.

    Args:
      out: from `require_new`.
      statistics_batches: compute batch statistics anew, over so many batches of
        `train.batch_size` latents; None: the source's own.

    Raises: SaveError if it cannot be written.
    """
    config, train = imported.config, cast(GanTrainConfig, imported.config.train)
    average = _variables(imported.average, imported.average.normalized())
    if statistics_batches is not None:
        config = _with_one_set(config, statistics_batches)
        average["batch_stats"] = inference.statistics(
            config.model, config.seed, train.batch_size, average["params"], statistics_batches
        )
    about = {"step": imported.step, "class_names": list(imported.class_names), "vocabulary": []}
    about |= {"origin": imported.kind}
    with _moved_when_whole(out) as folder:
        checkpoint.claim(folder, config)
        checkpoints = Checkpoints(folder, config.checkpoint)
        try:
            checkpoints.save(imported.step, _state(imported), average, about)
            checkpoints.wait()
        finally:
            checkpoints.close()


def _with_one_set(config: Config, batches: int) -> Config:
    sets = {"statistics_sets": None} if hasattr(config.model, "statistics_sets") else {}
    return replace(config, checkpoint={"statistics_batches": batches}, model=sets)


@contextlib.contextmanager
def _moved_when_whole(out: Path) -> Iterator[Path]:
    """Yields a folder beside `out` that is given its name at the end, or removed after an error."""
    out = out.absolute()
    folder = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True)
        yield folder
        folder.replace(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _variables(network: Network, params: Params) -> dict[str, Any]:
    return {
        "params": unflatten_dict(params, sep="/"),
        "batch_stats": unflatten_dict(network.statistics, sep="/"),
    }


def _state(imported: Imported) -> RunState:
    """Returns the state of a run, without what the source does not have."""
    config = imported.config
    has_all = all(
        player in imported.moments and imported.moments[player].mean is not None
        for player in ("g", "d")
    )
    sets = getattr(config.model, "statistics_sets", None)

    def player(name: str, network: Network | None) -> Player | None:
        if network is None:
            return None
        variables = _variables(network, network.params)
        if sets is not None:  # those of latents that are not truncated
            variables["batch_stats"] = jax.tree.map(lambda x: x[-1], variables["batch_stats"])
        stats = {"spectral_stats": network.u, "batch_stats": variables["batch_stats"]}
        moments = _opt_state(config, imported.moments[name], network) if has_all else None
        return Player(variables["params"], stats, moments)

    g, d = player("g", imported.generator), player("d", imported.discriminator)
    ema = unflatten_dict(imported.average.params, sep="/")
    key = jax.random.key_data(jax.random.split(jax.random.key(config.seed), 4)[-1])
    task: Any = GanState(g, d, ema, {})  # type: ignore[arg-type]
    return RunState(np.int32(imported.step), key, np.int32(0), task)  # type: ignore[arg-type]


def _opt_state(config: Config, moments: Moments, network: Network) -> Any:
    """Returns Adam's state as `optimizer.adam` has it: a number, and each moment in one row."""
    assert moments.mean is not None and moments.square is not None
    params = unflatten_dict(network.params, sep="/")
    optim: Any = config.optim
    made = jax.eval_shape(lambda: optimizer.adam(optim, 0.0, jnp.zeros(())).init(params))
    rows = [
        np.concatenate([x.ravel() for x in jax.tree.leaves(unflatten_dict(part, sep="/"))])
        for part in (moments.mean, moments.square)
    ]
    return jax.tree.unflatten(jax.tree.structure(made), [np.int32(moments.count), *rows])
