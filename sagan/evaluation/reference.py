"""The real images that scores compare with (the reference): opened by name and cached."""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sagan import data
from sagan.config import Config, DataConfig, presets
from sagan.config.fields import closest, require
from sagan.data.image_sets import FromSource, open_folder, open_npz
from sagan.evaluation import ScoreSpec, features, reference_files
from sagan.evaluation import metrics as metrics_lib
from sagan.evaluation.features import Extractor
from sagan.evaluation.fold import fold, merged, merged_states
from sagan.evaluation.metrics import Metric, State
from sagan.evaluation.reference_files import Cache, Contents, Reference
from sagan.evaluation.requirements import require_outputs
from sagan.files import places
from sagan.files.images import Fit
from sagan.parallel import arrays, processes

_PROBED = 1024  # images that are hashed to find the cached files
_CONTENTS = "contents"


def open_images(
    text: str, *, overrides: Sequence[str] = (), image_size: int | None = None
) -> FromSource:
    """Opens an `.npz` of images; or a folder, a zip or a preset's data, with `:SPLIT` or without.

    Args:
      overrides: `section.field=value` texts for the preset, such as `data.dir=...`. Of a folder or
        a zip, they set `data.fit`.
      image_size: px; None: the preset's, or the size of all images of the folder.

    Raises: ConfigError if it is none of these, or cannot be opened.
    """
    if text.endswith(".npz"):
        path = places.local(text)
        require(path.is_file(), f"{text}: no such file")
        return open_npz(path, image_size)
    if (place := find_place(text)) is not None:
        path, split = place
        return open_folder(path, image_size, split=split, fit=fit_of(overrides))
    return _open_preset(text, overrides, image_size)


def find_place(text: str) -> tuple[Path, str | None] | None:
    """Returns the folder or zip that `PLACE` or `PLACE:SPLIT` names, and the split; else None.

    `NAME:SPLIT` is the preset of this name if there is one.

    Raises: ConfigError for a URL.
    """
    places.local(text)
    name, _, split = text.rpartition(":")
    for place, part in ((text, None), (name, split)):
        path = Path(place).expanduser()
        if part is not None and place in presets.preset_names():
            continue
        if place and (path.is_dir() or (path.suffix.lower() == ".zip" and path.is_file())):
            return path, part
    return None


def settings_for(text: str, own: DataConfig) -> list[str]:
    """Returns the overrides with which a run opens images beside its own data.

    They are made square as its own, and a preset of the same data set looks in the same folder.

    Args:
      text: as for `open_images`.
      own: of the run.
    """
    found, name = [f"data.fit={own.fit}"], text.partition(":")[0]
    if own.dir is None or find_place(text) is not None or name not in presets.preset_names():
        return found
    same = presets.load(name).data.name == own.name
    return [*found, f"data.dir={own.dir}"] if same else found


def fit_of(overrides: Sequence[str]) -> Fit:
    """Returns `data.fit` of some overrides, or its default."""
    return presets.load("folder", [o for o in overrides if o.startswith("data.fit=")]).data.fit


def _open_preset(text: str, overrides: Sequence[str], image_size: int | None) -> FromSource:
    name, _, split = text.partition(":")
    known = presets.preset_names()
    require(
        name in known or name.endswith(".py"),
        f"{text!r} is no folder, no zip, nor PRESET or PRESET:SPLIT{closest(name, known)}; "
        f"presets: {', '.join(known)}",
    )
    config = presets.load(name, overrides)
    return open_data(config.data, image_size or config.model.image_size, split or None)


def open_data(config: DataConfig, image_size: int, split: str | None = None) -> FromSource:
    """Opens a split of a dataset (None: the one in `config`), at `image_size` px."""
    source = data.load(config, image_size, split=split)
    return FromSource(source, image_size, f"{config.name}:{split or config.split}")


def training_images(text: str, overrides: Sequence[str], image_size: int) -> FromSource:
    """Opens what a classifier of a reference's data is trained on: the preset's own split.

    Raises: ConfigError if the reference is a file of statistics, which holds no images.
    """
    require(not text.endswith(".npz"), f"{text} holds no images to train a classifier on")
    if find_place(text) is not None:
        return open_images(text, overrides=overrides, image_size=image_size)
    # Not open_images, because a folder may have the name of the preset.
    return _open_preset(text.partition(":")[0], overrides, image_size)


def saved_file(spec: ScoreSpec) -> Path | None:
    """Returns the file of a saved reference that is asked for; None if it is not one.

    An `.npz` with images and no statistics is none.

    Raises: ConfigError if only some of its images are wanted.
    """
    if spec.reference is None or not spec.reference.endswith(".npz"):
        return None
    if zipfile.is_zipfile(Path(spec.reference).expanduser()):
        with zipfile.ZipFile(Path(spec.reference).expanduser()) as archive:
            if {"arr_0.npy", "mu.npy"} & set(archive.namelist()) == {"arr_0.npy"}:
                return None
    require(
        spec.num_real is None,
        f"--num-real {spec.num_real}: {spec.reference} holds statistics of all its images",
    )
    return Path(spec.reference).expanduser()


def of(
    real: FromSource | Path,
    metrics: Sequence[Metric],
    extractor: Extractor,
    *,
    batch_size: int,
    is_scored: bool = False,
) -> Reference:
    """Returns the reference with the states that these metrics need.

    If `real` is a file, it is read. If it is images, states that are not in the cache of the first
    process are computed by all processes together, and written to that cache.

    Args:
      batch_size: images per call of the network, on each device.
      is_scored: the images are to be scored too, so states of all metrics are wanted, not only of
        those that compare.

    Raises: ConfigError if the network lacks an output that a metric reads, or the file does not
      fit the network and the metrics.
    """
    if isinstance(real, Path):
        return reference_files.load(real, metrics, extractor)
    wanted = {m.state_name: m for m in metrics if m.uses_real or is_scored}
    require_outputs(extractor, list(wanted.values()))
    cache = Cache(_key(real, extractor)) if processes.is_main() else None
    states = _from_main(cache, {n: m.accumulator.state for n, m in wanted.items()})
    absent = [metric for name, metric in wanted.items() if name not in states]
    if absent or _CONTENTS not in states:
        computed = _compute(real, absent, extractor, batch_size)
        states |= computed
        if cache is not None:
            cache.write(computed)
    contents = states.pop(_CONTENTS)
    return Reference(
        name=real.name,
        sha256=contents.digest.tobytes().hex(),
        num_images=len(real),
        image_size=real.image_size,
        class_names=real.class_names,
        class_counts=contents.class_counts,
        states=states,
    )


def _from_main(cache: Cache | None, kinds: Mapping[str, Any]) -> dict[str, State]:
    """Returns in all processes what the first one found in its cache."""
    kinds = {**kinds, _CONTENTS: Contents}
    found = {} if cache is None else cache.read(kinds)
    flags = arrays.broadcast(np.array([name in found for name in kinds]))
    nothing = np.zeros(0)  # in place of each array, in processes that only receive
    return {
        name: arrays.broadcast(found.get(name, kind(*[nothing] * len(kind._fields))))
        for (name, kind), there in zip(kinds.items(), flags, strict=True)
        if there
    }


def _compute(
    images: FromSource, metrics: Sequence[Metric], extractor: Extractor, batch_size: int
) -> dict[str, State]:
    contents = Contents(np.zeros(32, np.uint8), np.zeros(images.num_classes or 0, np.int64))

    def seen(indices: np.ndarray, pixels: np.ndarray, labels: np.ndarray | None) -> None:
        nonlocal contents
        more = contents_of(indices, pixels, labels, len(contents.class_counts))
        contents = _merge_contents(contents, more)

    states = fold(
        images,
        metrics,
        extractor,
        batch_size=batch_size,
        progress=f"reference {images.name}",
        seen=seen,
    )
    return {**merged_states(states, metrics), _CONTENTS: merged(contents, _merge_contents)}


def contents_of(
    indices: np.ndarray, pixels: np.ndarray, labels: np.ndarray | None, num_classes: int
) -> Contents:
    """Identifies some images of a set; the parts of a set combine in any order."""
    total = np.zeros(32, np.uint8)
    numbers = [-1] * len(pixels) if labels is None else labels
    for at, image, label in zip(indices, pixels, numbers, strict=True):
        head = f"{int(at)} {int(label)} {image.shape}".encode()
        total ^= np.frombuffer(hashlib.sha256(head + image.tobytes()).digest(), np.uint8)
    counts = np.zeros(num_classes, np.int64)
    if labels is not None and num_classes:
        counts += np.bincount(labels, minlength=num_classes)
    return Contents(total, counts)


def _merge_contents(a: Contents, b: Contents) -> Contents:
    return Contents(a.digest ^ b.digest, a.class_counts + b.class_counts)


def _key(images: FromSource, extractor: Extractor) -> dict[str, Any]:
    """Returns everything that a cached state depends on, with a hash of some images read now."""
    probes = np.unique(np.linspace(0, len(images) - 1, _PROBED).astype(int))
    pixels, labels = images.read(probes)
    return {
        "format": reference_files.FORMAT,
        "source": images.key,
        "probe": contents_of(probes, pixels, labels, 0).digest.tobytes().hex(),
        "num_images": len(images),
        "image_size": images.image_size,
        **extractor.fingerprint,
    }


def run(config: Config, spec: ScoreSpec, *, split: str | None, out: Path | None) -> None:
    """Computes and caches the reference of a config's scores, and saves it to `out` if given.

    Raises: ConfigError if data or network cannot be opened.
    """
    size = config.model.image_size
    images = open_data(config.data, size, split)
    training = images if split in (None, config.data.split) else None
    extractor = features.load(
        spec.features,
        spec.weights,
        spec.resizer,
        lambda: training or open_data(config.data, size),
    )
    metrics = metrics_lib.find(spec.metrics)
    made = of(images.part(spec.num_real), metrics, extractor, batch_size=spec.batch_size)
    if not processes.is_main():
        return
    print(f"{made.name}: {made.num_images} images of {made.image_size} px, "
          f"sha256 {made.sha256[:16]}")  # fmt: skip
    print(f"states: {', '.join(made.states) or 'none needed'}")
    if out is not None:
        reference_files.save(out, made, extractor)
        print(f"wrote {out}")
