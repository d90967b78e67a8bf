"""Times the parts of a run one by one: training, updates, input, checkpoints, sampling, …"""

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
from sagan.bench import safety, training
from sagan.bench.setup import Setup
from sagan.bench.timing import rate, say, times
from sagan.config import Config
from sagan.runs.checkpoint import Checkpoints

_FEATURE_IMAGES = 64
_READ_IMAGES = 256


def measure(
    config: Config, *, repeats: int, parts: Sequence[str], trace: Path | None = None
) -> dict[str, Any]:
    """Times the chosen parts of a training.

    Args:
      repeats: how often each part is timed.
      parts: names of parts, as `sagan bench --help` lists them.
      trace: a folder; a profile of the training step, for TensorBoard, is written there.

    Returns:
      A description of the run (config, devices, data, dtype), and under each part's name its
      figures. Times are in seconds: median, quartiles, least and greatest of the repeats.
      `train.images_per_second` is the number of real images that the discriminator sees in a
      second of whole steps.
    """
    setup = Setup(config)
    result: dict[str, Any] = setup.describe()
    state = setup.create()
    if "checkpoint" in parts:
        result["checkpoint"] = _checkpoints(setup, state)
    if "train" in parts:
        result["train"], state = training.whole(setup, state, repeats, trace)
    if "players" in parts:
        result["players"], state = training.updates(setup, state, repeats)
    if "input" in parts:
        consumed = result.get("train", {}).get("images_per_second")
        result["input"], state = _input(setup, state, repeats, consumed)
    if "sampling" in parts:
        say("sampling")
        count, sample = setup.sampling(state)
        result["sampling"] = rate(count, times(sample, repeats, "sampling"))
    if "features" in parts:
        result["features"] = _features(repeats)
    if "guard" in parts:
        result["guard"] = safety.measure(setup, repeats)
    # Linux gives kilobytes. On CPUs this is also the memory of the device.
    result["host_peak_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result


def _input(
    setup: Setup, state: Any, repeats: int, consumed: float | None
) -> tuple[dict[str, Any], Any]:
    """Times the stages by which images reach the training step.

    Args:
      consumed: images per second that training consumes; None if that was not measured.

    Returns: figures, and the state. `read` is one process that decodes images from the source.
      `feed` is the arrival of batches on the devices (of their indices, if the dataset is stored
      there). `decode` is gathering, augmenting and scaling on the devices.
    """
    say("input")
    chosen = np.arange(min(_READ_IMAGES, len(setup.source)))
    read = times(lambda: data.read(setup.source, chosen), repeats, "reading")
    feed = times(lambda: jax.block_until_ready(next(setup.batches)), repeats, "feeding")
    program, carried = setup.compile(setup.decoding), [state]

    def decode() -> None:
        carried[0], out = program(carried[0], setup.pipeline.data, next(setup.batches))
        jax.block_until_ready(out)

    seconds = times(decode, repeats, "decoding")
    images = setup.images_per_dispatch
    found: dict[str, Any] = {
        "resident": setup.pipeline.resident,
        "read": rate(len(chosen), read),
        "feed": rate(images, feed),
        "decode": rate(images // setup.steps, seconds),
    }
    found["images_per_second"] = found["feed"]["images_per_second"]
    if consumed:
        for stage in ("read", "feed", "decode"):
            found[stage]["times_what_training_takes"] = found[stage]["images_per_second"] / consumed
    return found, carried[0]


def _features(repeats: int) -> dict[str, Any]:
    """Times the FID Inception network, with random weights: they do not change its speed."""
    from sagan.evaluation.features.fid_inception.network import OUTPUTS, Inception
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


def _checkpoints(setup: Setup, state: Any) -> dict[str, Any]:
    say("checkpoints")
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), setup.config.checkpoint)
        begin = time.perf_counter()
        checkpoints.save(1, state, {"none": jnp.zeros(1)}, {})
        blocked = time.perf_counter() - begin
        checkpoints.wait()
        saved = time.perf_counter() - begin
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        begin = time.perf_counter()
        jax.block_until_ready(checkpoints.restore(1, setup.devices.abstract(setup.make)))
        restored = time.perf_counter() - begin
        checkpoints.close()
    return {
        "bytes": size,
        "save_blocks_seconds": blocked,
        "save_seconds": saved,
        "restore_seconds": restored,
    }
