"""Scores a run's checkpoints, once or as they appear, and any other images.

`run` files its results in the work directory under `eval/`; `run_images` prints them.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sagan import data
from sagan.config import Config
from sagan.config import plugins as registry
from sagan.config.fields import require
from sagan.data.image_sets import FromSource
from sagan.evaluation import extract, protocols, results
from sagan.evaluation import metrics as metrics_lib
from sagan.evaluation import reference as reference_lib
from sagan.evaluation.evaluator import (
    Evaluator,
    batch_size_of,
    evaluator_of,
    load_extractor,
    require_one_size,
)
from sagan.evaluation.watch import Job
from sagan.runs import checkpoint


def run(
    workdir: Path,
    *,
    step: str | int = "latest",
    metrics: Sequence[str] | None = None,
    num_images: int | None = None,
    features: str | None = None,
    weights: Path | None = None,
    resizer: str = "tf",
    reference: str | None = None,
    num_real: int | None = None,
    seeds: Sequence[int] = (0,),
    truncation: float | None = None,
    watch: bool = False,
    watch_timeout_seconds: float = 3600.0,
    as_json: bool = False,
    evaluator: Evaluator | None = None,
) -> list[dict[str, Any]]:
    """Scores checkpoints of a work directory; what is not given is as its config says.

    Args:
      step: `latest`, `best` (by eval.best_metric, among those scored), `all` or a number. `all`
        and `watch` pass over what was scored under the very same fingerprint.
      watch: score every checkpoint as it appears, until the run's last one, or until nothing new
        has come for `watch_timeout_seconds`.
      evaluator: one made earlier, by `evaluator_of`; what describes one is then not looked at.

    Returns: what was computed; also printed, and filed in the work directory.

    Raises:
      ConfigError: metrics, network, reference and numbers of images that do not fit.
      CheckpointError: no usable checkpoint.
      UnfiledError: the work directory cannot be written; what was computed is printed before.
    """
    if watch:
        _await_config(workdir, watch_timeout_seconds)
    config = checkpoint.read_config(workdir)
    if evaluator is None:  # a name that cannot be followed is told before anything large is read
        registry.load("data", config.data.name.partition("/")[0], field="data.name")
        registry.load("models", config.model.name, field="model.name")
    wanted = [] if watch else _pick(workdir, config, step)
    number = num_images or config.eval.num_images
    labelled = config.model.num_classes is not None
    if evaluator is None:
        asked = metrics_lib.find(metrics or config.eval.metrics)
        protocols.check_possible(asked, number, num_real, labelled)
    evaluator = evaluator or evaluator_of(
        config,
        metrics=metrics,
        features=features,
        weights=weights,
        resizer=resizer,
        reference=reference,
        num_real=num_real,
    )
    evaluator.check(number, labelled)
    own = (
        number == config.eval.num_images
        and features in (None, config.eval.features)
        and (weights, resizer, reference, num_real) == (None, "tf", None, None)
        and (tuple(seeds), truncation) == ((0,), None)
    )
    job = Job(workdir, evaluator, number, seeds, truncation, own)
    if watch:
        rows = job.watch(watch_timeout_seconds)
    elif step == "all":
        rows = [job.score(n) if not job.is_done(n) else job.filed(n) for n in wanted]
        rows = [row for row in rows if row is not None]
    else:
        rows = [job.score(n, must=True) for n in wanted]
    if extract.Share.of_this_process().index == 0 and rows:
        show(rows, as_json=as_json)
    job.require_filed()
    return rows


def is_scored(workdir: Path, step: int, evaluator: Evaluator) -> bool:
    """Says whether a step has the scores that its run's config asks for."""
    config = checkpoint.read_config(workdir)
    return Job(workdir, evaluator, config.eval.num_images).is_done(step)


def _await_config(workdir: Path, timeout_seconds: float) -> None:
    """Waits for a training that was started at the same time."""
    end = time.monotonic() + timeout_seconds
    while not (workdir / "config.json").is_file() and time.monotonic() < end:
        time.sleep(min(1.0, timeout_seconds))


def _pick(workdir: Path, config: Config, step: str | int) -> list[int]:
    if step == "all":
        checkpoint.pick(workdir, None)
        return checkpoint.steps(workdir)
    if step == "latest":
        return [checkpoint.pick(workdir, None)]
    if step == "best":
        return [checkpoint.pick(workdir, results.best_step(workdir, config))]
    if isinstance(step, str):
        require(step.isdigit(), f"--step {step!r}; allowed: latest, best, all, or a number")
    return [checkpoint.pick(workdir, int(step))]


def run_images(
    images: str,
    reference: str,
    *,
    overrides: Sequence[str] = (),
    metrics: Sequence[str] = ("fid", "is"),
    num_images: int | None = None,
    num_real: int | None = None,
    features: str = "inception",
    weights: Path | None = None,
    resizer: str = "tf",
    image_size: int | None = None,
    batch_size: int = 64,
    as_json: bool = False,
) -> dict[str, Any]:
    """Scores images that come as files, or as a split of a preset's data.

    Args:
      images: a folder, whose sub-folders are classes; or `PRESET:SPLIT`.
      reference: a folder, `PRESET:SPLIT`, or a file of `sagan reference --out`.
      overrides: `section.field=value` for the presets named.
      num_images, num_real: so many, drawn once and for all; None: all.
      image_size: crop and resize both sides; None: as they are.

    Returns: what is printed.

    Raises: ConfigError for images that cannot be read or do not fit the reference.
    """
    fake = reference_lib.open_images(images, overrides=overrides, image_size=image_size)
    size = fake.image_size
    saved = reference.endswith(".npz")
    require(not saved or num_real is None, f"--num-real: {reference} is whole as it was saved")
    real = None if saved else _open_real(reference, overrides, image_size, size)

    scored, real = fake.part(num_images), None if real is None else real.part(num_real)
    asked = metrics_lib.find(metrics)
    if real is not None:
        require_one_size(size, real)
        protocols.check_possible(asked, len(scored), len(real), scored.num_classes is not None)

    def training() -> FromSource:
        return reference_lib.training_images(reference, overrides, image_size or size)

    extractor = load_extractor(features, weights, resizer, training)
    total = batch_size_of(batch_size)

    def real_side(metrics: Any, extractor: Any) -> reference_lib.Reference:
        if real is None:
            return reference_lib.load(Path(reference).expanduser(), metrics, extractor)
        share = extract.Share.of_this_process()
        return reference_lib.of(real, metrics, extractor, batch_size=total, share=share)

    evaluator = Evaluator(metrics, extractor, real_side, batch_size=total, image_size=size)
    if any(metric.USES_LABELS for metric in asked) and scored.num_classes:
        scored = scored.with_classes(evaluator.reference.class_names)
    scores, warnings = evaluator.score(scored, fake.name)
    result = {
        "step": None,
        "images": fake.name,
        "metrics": scores,
        "protocol": evaluator.protocol(len(scored), protocols.of_files()),
        "warnings": warnings,
    }
    if extract.Share.of_this_process().index == 0:
        show([result], as_json=as_json, name="images")
    return result


def _open_real(
    text: str, overrides: Sequence[str], image_size: int | None, fake_size: int
) -> FromSource:
    """A preset's data can be had at the images' own size; a folder is as it is."""
    is_folder = Path(text).expanduser().is_dir()
    size = image_size if is_folder else image_size or fake_size
    return reference_lib.open_images(text, overrides=overrides, image_size=size)


def run_reference(
    config: Config,
    *,
    split: str | None = None,
    metrics: Sequence[str] | None = None,
    num_real: int | None = None,
    features: str | None = None,
    weights: Path | None = None,
    resizer: str = "tf",
    out: Path | None = None,
) -> None:
    """Computes and caches the real side of a config's scores, and saves it to `out` if given.

    Raises: ConfigError if data or network cannot be opened.
    """
    size = config.model.image_size
    source = data.load(config.data, size, split=split)
    name = f"{config.data.name}:{split or config.data.split}"
    images = FromSource(source, size, name).part(num_real)

    def training() -> FromSource:
        if split in (None, config.data.split):
            return FromSource(source, size, name)
        return FromSource(data.load(config.data, size), size, name)

    extractor = load_extractor(features or config.eval.features, weights, resizer, training)
    made = reference_lib.of(
        images,
        metrics_lib.find(metrics or config.eval.metrics),
        extractor,
        batch_size=batch_size_of(config.eval.batch_size),
        share=extract.Share.of_this_process(),
    )
    print(f"{made.name}: {made.num_images} images of {size} px, sha256 {made.sha256[:16]}")
    print(f"states: {', '.join(made.states) or 'none needed'}")
    if out is not None and extract.Share.of_this_process().index == 0:
        reference_lib.save(out, made, extractor)
        print(f"wrote {out}")


def show(rows: Iterable[Mapping[str, Any]], *, as_json: bool, name: str = "step") -> None:
    """Prints results: a table with warnings beneath, or one JSON object a line."""
    rows = list(rows)
    if as_json:
        for row in rows:
            print(json.dumps(row))
        return
    print(
        results.table([(str(row.get("images", row["step"])), row["metrics"]) for row in rows], name)
    )
    for warning in dict.fromkeys(w for row in rows for w in row.get("warnings", [])):
        print(f"warning: {warning}")
