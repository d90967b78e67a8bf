"""A feature network, a real side and metrics, made once and ready to score images."""

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sagan import data
from sagan.config import Config, ConfigError
from sagan.config import plugins as registry
from sagan.config.fields import require
from sagan.data.image_sets import FromSource
from sagan.evaluation import extract, protocols
from sagan.evaluation import metrics as metrics_lib
from sagan.evaluation import reference as reference_lib
from sagan.evaluation.features import Extractor
from sagan.evaluation.metrics import Metric

Generate = Callable[..., np.ndarray]  # as sagan.tasks.gan.sample.Sampler
# Gives the real side once the network is there.
RealSide = Callable[[Sequence[Metric], Extractor], reference_lib.Reference]


class Generated:
    """Images a generator draws by position; see `extract.Images`."""

    def __init__(self, generate: Generate, labels: np.ndarray | None, num_images: int,
                 num_classes: int | None, seed: int, truncation: float | None):  # fmt: skip
        self.num_classes = num_classes
        self._generate, self._labels, self._num_images = generate, labels, num_images
        self._seed, self._truncation = seed, truncation

    def __len__(self) -> int:
        return self._num_images

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        labels = None if self._labels is None else self._labels[indices]
        pixels = self._generate(labels, indices, seed=self._seed, truncation=self._truncation)
        return pixels, labels


class Evaluator:
    """A network, a real side and metrics, ready to score images.

    Args:
      real: opens the real side for this network.
      batch_size: images per call of the network, on each local device.

    Raises: ConfigError for what could only fail after the work: too few images, a metric that the
      network, the real side or unlabelled images cannot serve.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        extractor: Extractor,
        real: RealSide,
        *,
        batch_size: int,
        image_size: int,
    ):
        self.metrics = metrics_lib.find(metrics)
        extract.check_outputs(extractor, self.metrics)
        self._extractor = extractor
        self._share = extract.Share.of_this_process()
        self._batch_size = batch_size
        self._image_size = image_size
        self.reference = real(self.metrics, extractor)
        require_one_size(image_size, self.reference)

    def labels(self, num_images: int, num_classes: int | None, seed: int) -> np.ndarray | None:
        """Draws classes for generated images with the real side's frequencies."""
        counts = self.reference.class_counts
        if num_classes is None:
            return None
        if len(counts) != num_classes:
            counts = np.ones(num_classes)
        return protocols.balanced_labels(num_images, counts, seed)

    def check(self, num_images: int, labelled: bool) -> None:
        """Raises: ConfigError if so many images, with classes or not, cannot be scored."""
        real_labelled = len(self.reference.class_counts) > 0
        for metric in self.metrics:
            both = labelled and (real_labelled or not metric.USES_REAL)
            protocols.check_possible([metric], num_images, self.reference.num_images, both)

    def keys(self, num_images: int) -> list[str]:
        """Lists the names that scores of so many images begin with."""
        resizer = self._extractor.fingerprint.get("resizer", "")
        return [protocols.key(m.NAME, num_images, resizer=resizer) for m in self.metrics]

    def protocol(self, num_images: int, made: Mapping[str, Any]) -> dict[str, Any]:
        """Gives the fingerprint that scores of such images are stored with."""
        return {
            **{"weights_sha256": None, "resizer": None},
            **self._extractor.fingerprint,
            "reference": self.reference.name,
            "reference_sha256": self.reference.sha256,
            "num_real": self.reference.num_images,
            "num_fake": num_images,
            "image_size": self._image_size,
            **made,
        }

    def score(self, images: extract.Images, progress: str) -> tuple[dict[str, float], list[str]]:
        """Scores images in one pass; every process gets the same values.

        Returns: scores by protocol key, and warnings.
        """
        self.check(len(images), images.num_classes is not None)
        states = extract.fold(
            images,
            self.metrics,
            self._extractor,
            batch_size=self._batch_size,
            progress=progress,
            share=self._share,
        )
        named = {metrics_lib.state_name(metric): metric for metric in self.metrics}
        states = {
            name: extract.merged(state, named[name].merge, self._share)
            for name, state in states.items()
        }
        scores, warnings = {}, []
        for metric, key in zip(self.metrics, self.keys(len(images)), strict=True):
            name = metrics_lib.state_name(metric)
            real = self.reference.states[name] if metric.USES_REAL else None
            try:
                values = metric.compute(states[name], real)
            except ValueError as error:
                raise ConfigError(f"metric {metric.NAME}: {error}") from error
            scores |= {key + (f"_{part}" if part else ""): v for part, v in values.items()}
            width = self._extractor.widths[metric.OUTPUT]
            num_real = self.reference.num_images if metric.USES_REAL else None
            warnings += protocols.warnings(metric, width, len(images), num_real)
        return scores, warnings


def require_one_size(image_size: int, real: FromSource | reference_lib.Reference) -> None:
    """Raises: ConfigError unless both sides' images have the same size."""
    require(
        real.image_size == image_size,
        f"the images are {image_size} px, the reference {real.name} is {real.image_size} px; "
        "give --image-size or another --reference",
    )


def load_extractor(
    name: str, weights: Path | None, resizer: str, training: Callable[[], FromSource]
) -> Extractor:
    """Loads a feature network by name; `training` opens images for one that is trained first.

    Raises: ConfigError for an unknown network, or weights that cannot be had.
    """
    module = registry.load("features", name, field="features")
    if "images" not in inspect.signature(module.load).parameters:
        return module.load(weights=weights, resizer=resizer)
    require(
        weights is None, f"features {name!r} are trained on the data; --weights is not for them"
    )
    require(resizer == "tf", f"features {name!r} resize nothing; --resizer is not for them")
    images = training()
    num_classes = images.num_classes
    require(
        num_classes is not None, f"features {name!r} need data with classes, {images.name} has none"
    )
    pixels, labels = images.arrays()
    return module.load(images=pixels, labels=labels, num_classes=num_classes)


def evaluator_of(
    config: Config,
    *,
    metrics: Sequence[str] | None = None,
    features: str | None = None,
    weights: Path | None = None,
    resizer: str = "tf",
    reference: str | None = None,
    num_real: int | None = None,
) -> Evaluator:
    """Makes the evaluator that a run's config describes, where not told otherwise.

    Raises: ConfigError as `Evaluator` does, or if data or network cannot be opened.
    """
    size = config.model.image_size
    batch_size = batch_size_of(config.eval.batch_size)

    @functools.cache  # saved statistics need it for a classifier alone
    def training() -> FromSource:
        source = data.load(config.data, size)
        return FromSource(source, size, f"{config.data.name}:{config.data.split}")

    if reference is not None and reference.endswith(".npz"):
        require(num_real is None, f"--num-real: {reference} is whole as it was saved")
        real = functools.partial(reference_lib.load, Path(reference).expanduser())
    elif reference is None:
        real = _computed(training().part(num_real), batch_size)
    else:
        images = reference_lib.open_images(reference, image_size=size).part(num_real)
        if config.model.num_classes is not None and images.num_classes is not None:
            images = _renumbered(images, training())
        real = _computed(images, batch_size)
    extractor = load_extractor(features or config.eval.features, weights, resizer, training)
    return Evaluator(
        metrics or config.eval.metrics,
        extractor,
        real,
        batch_size=batch_size,
        image_size=size,
    )


def batch_size_of(per_device: int) -> int:
    """Gives how many images one call of the network takes on this process's devices."""
    import jax

    return per_device * jax.local_device_count()


def _renumbered(images: FromSource, training: FromSource) -> FromSource:
    """Numbers the reference's classes as the generator does, by name, before anything is read."""
    if training.num_classes is None:
        return images
    unknown = [name for name in images.class_names if name not in training.class_names]
    _require_classes(not unknown, images, training.class_names)
    return images.with_classes(training.class_names)


def _require_classes(
    same: bool, real: FromSource | reference_lib.Reference, wanted: Sequence[str]
) -> None:
    def shown(names: Sequence[str]) -> str:
        return ", ".join(names[:12]) + (", …" if len(names) > 12 else "")

    require(
        same,
        f"the reference {real.name} has classes {shown(real.class_names)}; "
        f"the generator's are: {shown(wanted)}; give one with these, or without classes",
    )


def _computed(images: FromSource, batch_size: int) -> RealSide:
    def real(metrics: Sequence[Metric], extractor: Extractor) -> reference_lib.Reference:
        share = extract.Share.of_this_process()
        return reference_lib.of(images, metrics, extractor, batch_size=batch_size, share=share)

    return real


def evaluate_step(
    evaluator: Evaluator,
    sampler: Any,
    *,
    num_images: int,
    seeds: Sequence[int] = (0,),
    truncation: float | None = None,
) -> dict[str, Any]:
    """Scores one checkpoint.

    Args:
      sampler: a `sagan.tasks.gan.sample.Sampler`.
      seeds: of latents and classes; with several, scores are means, `..._seed_sd` their spread.

    Returns: what `eval/<step>.json` holds.

    Raises: ConfigError if classes are not numbered alike on both sides.
    """
    started = time.monotonic()
    num_classes = sampler.config.model.num_classes
    num_classes = num_classes if isinstance(num_classes, int) else None
    real = evaluator.reference
    if num_classes is not None and min(len(real.class_names), len(sampler.class_names)) > 1:
        same = tuple(sampler.class_names) == real.class_names
        _require_classes(same, real, sampler.class_names)
    rows, warnings = [], []
    for seed in seeds:
        labels = evaluator.labels(num_images, num_classes, seed)
        images = Generated(sampler, labels, num_images, num_classes, seed, truncation)
        part = f" seed {seed}" if len(seeds) > 1 else ""
        scores, warnings = evaluator.score(images, f"step {sampler.step}{part}")
        rows.append(scores)
    metrics = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    if len(seeds) > 1:
        metrics |= {f"{k}_seed_sd": float(np.std([r[k] for r in rows], ddof=1)) for k in rows[0]}
    made = protocols.of_generator(sampler.config, seeds, truncation)
    return {
        "step": sampler.step,
        "metrics": metrics,
        "protocol": evaluator.protocol(num_images, made),
        "warnings": warnings,
        "seconds": round(time.monotonic() - started, 3),
    }
