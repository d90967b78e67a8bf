"""Measures the cost per training step of each loss, penalty and other row of the GANs' tables."""

import statistics
from collections.abc import Iterator
from typing import Any

from sagan.bench.setup import Setup, open_data
from sagan.bench.timing import quartiles, say, turns
from sagan.bench.training import Step
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
    """Times the training step of each row, in turns with the step of the config alone.

    Machines become slower and faster while this runs, so each row is compared with the config alone
    as it is at that moment.

    Args:
      repeats: how many pairs of steps are timed for each row.

    Returns:
      A description of the run, and `rows`: for each row its override, the seconds of a step, of a
      compilation, `relative` and `relative_quartiles`, the median and the quartiles over the pairs
      of its time divided by that of the config alone, and `relative_flops`, its arithmetic divided
      by that of the config alone (None where it cannot be counted).
    """
    found = configs(base)
    _, config = next(found)
    setup = Setup(config)
    alone = Step(setup, setup.create())
    rows = [_row("alone", alone, alone, repeats)]
    for text, config in found:
        say(text)
        other = Setup(config)
        rows.append(_row(text, Step(other, other.create()), alone, repeats))
    about = setup.describe()
    return {key: about[key] for key in ("config", "devices", "data", "dtype")} | {"rows": rows}


def _row(text: str, step: Step, alone: Step, repeats: int) -> dict[str, Any]:
    ours, theirs = turns(step, alone, repeats, "training in turns")
    low, middle, high = quartiles([a / b for a, b in zip(ours, theirs, strict=True)])
    flops, plain = (x.figures.get("flops_per_device") for x in (step, alone))
    return {
        "row": text,
        "relative": round(middle, 2),
        "relative_quartiles": [round(low, 2), round(high, 2)],
        "relative_flops": round(flops / plain, 2) if flops and plain else None,
        "seconds_per_step": statistics.median(ours) / step.setup.steps,
        "compile_seconds": step.figures["compile_seconds"],
    }
