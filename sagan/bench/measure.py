"""All of a run's parts, each timed alone: training, players, input, checkpoints, sampling."""

import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sagan import data
from sagan.bench import guards, training
from sagan.bench.game import Game
from sagan.bench.timing import rate, say, times
from sagan.config import Config
from sagan.runs.checkpoint import Checkpoints
from sagan.tasks.gan import sampler

_SAMPLES = 4 * sampler.CHUNK
_FEATURE_IMAGES = 64
_READ_IMAGES = 256


def measure(
    config: Config, *, repeats: int, parts: Sequence[str], trace: Path | None = None
) -> dict[str, Any]:
    """Times the chosen `parts` of one config.

    Returns:
      `train.images_per_second`: real images through the discriminator per second of the whole
      iteration; times are medians of `repeats`, with quartiles, the least and the greatest.
    """
    game = Game(config)
    result: dict[str, Any] = game.describe()
    state = game.create()
    if "checkpoint" in parts:
        result["checkpoint"] = _checkpoints(game, state)
    if "train" in parts:
        result["train"], state = training.whole(game, state, repeats, trace)
    if "players" in parts:
        result["players"], state = training.players(game, state, repeats)
    if "input" in parts:
        consumed = result.get("train", {}).get("images_per_second")
        result["input"], state = _input(game, state, repeats, consumed)
    if "sampling" in parts:
        result["sampling"] = _sampling(game.config, game.devices.local(state), repeats)
    if "features" in parts:
        result["features"] = _features(repeats)
    if "guard" in parts:
        result["guard"] = guards.measure(game, repeats)
    # Kilobytes on Linux; of the host's memory, where the CPU is the device too.
    result["host_peak_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result


def _input(
    game: Game, state: Any, repeats: int, consumed: float | None
) -> tuple[dict[str, Any], Any]:
    """Times each stage by which images reach the step, and how many times faster than it each is.

    `read`: one process decodes from the source; `feed`: batches arrive at the devices (of a set
    that lives there, their indices); `decode`: gathering, augmentation and scaling on the devices.
    """
    say("input")
    chosen = np.arange(min(_READ_IMAGES, len(game.source)))
    read = times(lambda: data.read(game.source, chosen), repeats, "reading")
    feed = times(lambda: jax.block_until_ready(next(game.batches)), repeats, "feeding")
    program, carried = game.compile(training.decoded), [state]

    def decode() -> None:
        batch = next(game.batches)
        carried[0], out = program(carried[0], game.pipeline.data, batch)
        jax.block_until_ready(out)

    seconds = times(decode, repeats, "decoding")
    images = game.images_per_dispatch
    found: dict[str, Any] = {
        "resident": game.pipeline.resident,
        "read": rate(len(chosen), read),
        "feed": rate(images, feed),
        "decode": rate(images // game.steps, seconds),
    }
    found["images_per_second"] = found["feed"]["images_per_second"]
    if consumed:
        for stage in ("read", "feed", "decode"):
            found[stage]["times_what_training_takes"] = found[stage]["images_per_second"] / consumed
    return found, carried[0]


def _sampling(config: Config, state: Any, repeats: int) -> dict[str, Any]:
    say("sampling")
    variables = sampler.refresh(config, state.ema, state.g.stats["spectral_stats"], batches=1)
    z = sampler.draw_latents(0, np.arange(_SAMPLES), config.model.z_dim)
    classes = config.model.num_classes
    labels = None
    if isinstance(classes, int):
        labels = (np.arange(_SAMPLES) % classes).astype(np.int32)
    seconds = times(lambda: sampler.generate(config, variables, z, labels), repeats, "sampling")
    return rate(_SAMPLES, seconds)


def _features(repeats: int) -> dict[str, Any]:
    """Times the FID Inception network; random weights, since speed does not depend on them."""
    from sagan.evaluation.features._inception_network import OUTPUTS, Inception
    from sagan.evaluation.features.inception import InceptionExtractor

    say("features")
    shapes = jax.eval_shape(
        lambda: Inception(tuple(OUTPUTS)).init(jax.random.key(0), jnp.zeros((1, 299, 299, 3)))
    )["params"]
    rng = np.random.default_rng(0)
    layers = jax.tree.map(lambda x: rng.normal(0, 0.05, x.shape).astype(np.float32), shapes)
    extractor = InceptionExtractor(layers, "tf", None)
    images = rng.integers(0, 256, (_FEATURE_IMAGES, 32, 32, 3), dtype=np.uint8)
    seconds = times(lambda: extractor(images, ("pool",)), repeats, "features")
    return {"network": "inception, 32 px images", **rate(_FEATURE_IMAGES, seconds)}


def _checkpoints(game: Game, state: Any) -> dict[str, Any]:
    say("checkpoints")
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), game.config.checkpoint, lambda: ())
        begin = time.perf_counter()
        checkpoints.save(1, state, {"none": jnp.zeros(1)}, {})
        blocked = time.perf_counter() - begin
        checkpoints.wait()
        saved = time.perf_counter() - begin
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        begin = time.perf_counter()
        jax.block_until_ready(checkpoints.restore(1, game.devices.abstract(game.make)))
        restored = time.perf_counter() - begin
        checkpoints.close()
    return {
        "bytes": size,
        "save_blocks_seconds": blocked,
        "save_seconds": saved,
        "restore_seconds": restored,
    }
