"""Self-attention GANs (arXiv:1805.08318) in JAX: train on one CPU core or a pod, score, sample.

    import sagan

    generator = sagan.train(sagan.preset("digits"))        # resumes, like the command
    generator = sagan.load("runs/digits", step="best")
    images = generator.sample(classes=["3", "7"], num=4)   # uint8 (8, S, S, 3)
    scores = sagan.evaluate("runs/digits")                 # {"classifier_fid1000": 8.1, ...}

These raise exceptions and do not end the process; docs/python.md, a tour, names one exception.
`ConfigError` means that an argument is invalid, and `CheckpointError` that a work directory has no
usable checkpoint.

The command line (`sagan --help`) is a thin layer: `sagan/cli/` has one file for each verb, which
turns arguments into a call. Importing this module imports no jax.
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from sagan.config import Config, ConfigError
    from sagan.runs.checkpoint import CheckpointError
    from sagan.tasks.gan.sampler import Sampler as Generator

__version__ = "0.2.0"
__all__ = [
    "CheckpointError",
    "Config",
    "ConfigError",
    "Generator",
    "__version__",
    "evaluate",
    "load",
    "preset",
    "train",
]
_LAZY = {
    "CheckpointError": ("sagan.runs.checkpoint", "CheckpointError"),
    "Config": ("sagan.config", "Config"),
    "ConfigError": ("sagan.config", "ConfigError"),
    "Generator": ("sagan.tasks.gan.sampler", "Sampler"),
}

# `python -m sagan` looks for `__main__.py` in the folders of this list; it lies in one of its own.
__path__.append(f"{__path__[0]}/cli/as_module")


def __getattr__(name: str) -> Any:
    """Imports a class when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'sagan' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def preset(name: str, overrides: Mapping[str, Any] | None = None) -> "Config":
    """Returns the config of a preset, or of a `.py` file, with some fields changed.

        config = sagan.preset("digits", {"train.steps": 100, "seed": 1})

    Args:
      name: as in `sagan train NAME`: a preset, or the path of a file that defines `get_config`.
      overrides: values by `section.field`. docs/configs.md lists all fields.

    Raises: ConfigError for an unknown preset or field, or a value that does not fit.
    """
    from sagan.config import presets, replace

    config = presets.load(str(name))
    changes: dict[str, Any] = {}
    for key, value in (overrides or {}).items():
        section, _, field = key.rpartition(".")
        if section:
            changes.setdefault(section, {})[field] = value
        else:
            changes[key] = value
    return replace(config, **changes)


def load(path: str | Path, step: int | str = "latest") -> "Generator":
    """Loads the generator of a run, to draw images with. No data set is needed.

        generator = sagan.load("runs/digits", step="best")
        images = generator.sample(classes=["3", "7"], num=4, seed=0)

    Args:
      path: a work directory; a folder that `sagan export --format safetensors` wrote; or
        `hf://USER/NAME`, which `sagan publish` wrote.
      step: of the checkpoint: a number, "latest", or "best" by `eval.best_metric`.

    Raises:
      CheckpointError: `path` is not a work directory, or has no such checkpoint that is whole.
      ConfigError: `step` is none of the above, or "best" and nothing was scored yet; or the folder
        is a damaged export, or the Hugging Face Hub has no such model.
    """
    _keep_compiled_programs()
    from sagan import tasks
    from sagan.evaluation import checkpoints
    from sagan.runs import checkpoint

    if str(path).startswith("hf://"):
        from sagan.tasks.gan import hub

        return hub.load(str(path))
    workdir = Path(path).expanduser()
    if (workdir / "export.json").is_file():
        from sagan.tasks.gan import export

        return export.load(workdir)
    config = checkpoint.read_config(workdir)
    sampler: Any = tasks.build(config).load_sampler(
        workdir, checkpoints.pick_step(workdir, config, step)
    )
    return sampler


def train(
    config: "Config",
    workdir: str | Path | None = None,
    *,
    init_from: str | Path | None = None,
) -> "Generator":
    """Trains to `train.steps` and returns the generator. The same call again resumes.

        config = sagan.preset("digits", {"train.steps": 100})
        generator = sagan.train(config, workdir="runs/short")

    Signals keep the meaning they have: Ctrl-C raises KeyboardInterrupt, and what was trained since
    the last checkpoint is lost. There is no watchdog. This process trains alone; jobs of several
    processes use the command.

    Args:
      config: from `preset`, or made with `sagan.config.make`.
      workdir: where everything is written; None: `runs/<config.name>`.
      init_from: work directory of another run of the same task. A new run starts from its weights,
        as far as names and shapes are the same; `init_from.json` in `workdir` lists them.

    Raises:
      ConfigError: the config, its data and this machine's devices do not fit one another; or loader
        processes would run this script anew.
      CheckpointError: `workdir` holds another run, or none of its checkpoints is whole.
      sagan.runs.lock.LockedError: another training uses `workdir`.
      sagan.training.nonfinite.Diverged: too many steps were not finite, or the run has collapsed.
    """
    from sagan.config import Config, ConfigError

    if not isinstance(config, Config):
        raise ConfigError(f"config={config!r}; allowed: what sagan.preset returns")
    _keep_compiled_programs()
    from sagan import data
    from sagan.data import decoded, main_guard
    from sagan.training import loop, prepare

    place = prepare.writable(Path("runs") / config.name if workdir is None else Path(workdir))
    source = data.load(config.data, config.model.image_size)
    size, limit = config.model.image_size, config.data.resident_bytes
    source = decoded.decode_up_to(source, size, limit)
    if not isinstance(source, decoded.DecodedSource) and config.data.workers:
        main_guard.require(config.data.workers)
    origin = None if init_from is None else Path(init_from)
    loop.run(config, place, source, owns_process=False, init_from=origin)
    return load(place)


def evaluate(
    workdir: str | Path | None = None,
    *,
    step: int | str = "latest",
    images: "np.ndarray | str | Path | None" = None,
    reference: str | Path | None = None,
    metrics: Sequence[str] | str | None = None,
    features: str | None = None,
    weights: str | Path | None = None,
    resizer: str | None = None,
    num_images: int | None = None,
    num_real: int | None = None,
    seeds: Sequence[int] | None = None,
    truncation: float | None = None,
    data_dir: str | Path | None = None,
) -> dict[str, float]:
    """Scores a checkpoint of a run, or any images. Lower FID is better; docs/evaluation.md.

        scores = sagan.evaluate("runs/digits", metrics=["classifier_fid"], num_images=1000)
        scores = sagan.evaluate(images=images, reference="digits:train", features="classifier")

    Args:
      workdir: a run. Its result is stored in `eval/<step>.json` as well.
      step: of the run's checkpoint: a number, "latest" or "best".
      images: instead of a run: uint8 (N, S, S, 3), a folder, or `PRESET:SPLIT`.
      reference: the real images: a folder, `PRESET:SPLIT`, or a file of `sagan reference --out`.
        None: the run's own data.
      metrics: None: the config's `eval.metrics`; for `images`: fid and is, or with
        features="classifier" classifier_fid and classifier_score.
      features: the network whose features are compared. None: the config's `eval.features`; for
        `images`: inception.
      weights: a file of the network's weights.
      resizer: how images are brought to the network's size: tf, torch or clean. None: tf.
      num_images: how many images are scored. None: the config's `eval.num_images`, or all `images`.
      num_real: how many real images they are compared with. None: all.
      seeds: of a run's latents; with several, scores are means. None: 0.
      truncation: factor of a run's latents.
      data_dir: where a run's data are now, if they have moved.

    Returns: scores by name, such as `classifier_fid1000`.

    Raises: ConfigError for scores that cannot be computed; CheckpointError as `load`.
    """
    from sagan.config.fields import require

    require((workdir is None) != (images is None), "allowed: a work directory, or images=")
    if isinstance(metrics, str):
        metrics = (metrics,)
    asked: dict[str, Any] = {
        "metrics": None if metrics is None else tuple(metrics),
        "features": features,
        "weights": None if weights is None else Path(weights).expanduser(),
        "reference": None if reference is None else str(reference),
        "resizer": resizer,
        "num_real": num_real,
    }
    _keep_compiled_programs()
    if images is not None:
        require(step == "latest", "step is for checkpoints of a run, not for images")
        of_a_run = {"seeds": seeds, "truncation": truncation, "data_dir": data_dir}
        for name, given in of_a_run.items():
            require(given is None, f"{name} is for checkpoints of a run, not for images")
        return _evaluate_images(images, asked, num_images)
    asked |= {"num_images": num_images, "truncation": truncation}
    asked["seeds"] = None if seeds is None else tuple(seeds)
    return _evaluate_run(Path(str(workdir)).expanduser(), asked, step, data_dir)


def _evaluate_images(
    images: Any, asked: dict[str, Any], num_images: int | None
) -> dict[str, float]:
    from sagan.data import image_sets
    from sagan.evaluation import ScoreSpec, image_files, reference

    usual = image_files.usual_metrics(asked["features"] or ScoreSpec.features)
    asked = {"metrics": usual} | {k: v for k, v in asked.items() if v is not None}
    is_place = isinstance(images, (str, Path))
    opened = reference.open_images(str(images)) if is_place else image_sets.from_array(images)
    result = image_files.score_images(opened.part(num_images), ScoreSpec(**asked), show=False)
    return result["metrics"]


def _evaluate_run(
    workdir: Path, asked: dict[str, Any], step: int | str, data_dir: str | Path | None
) -> dict[str, float]:
    from sagan import tasks
    from sagan.config import replace
    from sagan.evaluation import ScoreSpec, checkpoints
    from sagan.runs import checkpoint

    config = checkpoint.read_config(workdir)
    number = checkpoints.pick_step(workdir, config, step)
    if data_dir is not None:
        config = replace(config, data={"dir": str(data_dir)})
    task = tasks.build(config)
    if data_dir is not None:
        checkpoints.require_own_classes(workdir, task, config)
    spec = ScoreSpec.of(config.eval, **asked)
    (result,) = checkpoints.score_run(workdir, task, spec, step=number, show=False)
    return result["metrics"]


def _keep_compiled_programs() -> None:
    from sagan.files import cache

    cache.keep_compiled_programs()
