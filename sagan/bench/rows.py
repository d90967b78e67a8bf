"""Measures what each row of the tables of GANs costs per training step, beside the config alone."""

from collections.abc import Iterator
from typing import Any

from sagan.bench import measure
from sagan.bench.setup import open_data
from sagan.bench.timing import say
from sagan.config import Config, ConfigError, presets
from sagan.config.fields import require


def configs(base: Config) -> Iterator[tuple[str, Config]]:
    """Yields the override of each row, and the resolved config with it; first the base itself.

    Rows that do not fit the base are left out.

    Raises: ConfigError if the base is not one of a GAN, or cannot be trained itself.
    """
    require(base.task == "gan", f"--rows with task={base.task}; allowed: gan")
    from sagan.tasks import gan
    from sagan.tasks.gan.augmentation import AUGMENTATIONS
    from sagan.tasks.gan.conditionings import CONDITIONINGS
    from sagan.tasks.gan.losses import LOSSES
    from sagan.tasks.gan.penalties import PENALTIES
    from sagan.tasks.gan.regularisers import REGULARISERS

    _, base = open_data(base)
    gan.check(base)
    yield "", base
    train: Any = base.train
    chosen = [
        f"train.loss={name}" + (" model.d_sliced=true" if row.sliced else "")
        for name, row in LOSSES.items()
        if name != train.loss
    ]
    chosen += [f"train.penalties={name}=1" for name in PENALTIES] + ["train.penalties=r1=1@16"]
    chosen += [f"train.regularisers={name}=0.5" for name in REGULARISERS]
    chosen += [f"train.augment={name}" for name in AUGMENTATIONS]
    chosen += ["train.augment=bgc train.augment_p=adaptive"]
    chosen += [f"model.d_conditioning={name}" for name in CONDITIONINGS if name != "projection"]
    for text in chosen:
        try:
            config = presets.override(base, text.split())
            gan.check(config)
        except ConfigError as error:
            say(f"{text} is left out: {error}")
            continue
        yield text, config


def run(base: Config, repeats: int) -> dict[str, Any]:
    """Times the training step of each row.

    Returns:
      A description of the run, and `rows`: for each row its override, speed and times, and
      `relative`, its time over that of the config alone.
    """
    rows: list[dict[str, Any]] = []
    found: dict[str, Any] = {}
    for text, config in configs(base):
        say(text or "the config alone")
        found = measure.measure(config, repeats=repeats, parts=("train",))
        train = found["train"]
        seconds = train["seconds_per_step"]
        first = rows[0]["seconds_per_step"] if rows else seconds
        rows.append(
            {"row": text or "alone", "relative": round(seconds / first, 2)}
            | {key: train[key] for key in ("seconds_per_step", "compile_seconds")}
        )
    head = ("config", "devices", "data", "dtype")
    return {key: found[key] for key in head} | {"rows": rows}
