"""A task that learns nothing and has things to show, and work directories of such runs.

This module is the plug-in `task=support.shown_run`.
"""

import json

import numpy as np
from support.stand_ins import write_checkpoint

from sagan.config import make
from sagan.files import images
from sagan.runs import checkpoint
from sagan.tasks import Preview, Task
from sagan.tasks.exhibits import Exhibit, Look

PROTOCOL = {"features": "cheap", "resizer": "tf", "num_fake": 64, "num_real": 32, "seed": 0,
            "reference": "discs:train", "reference_sha256": "00", "quantisation": "round",
            "batch_norm": "none", "ema": True, "truncation": None}  # fmt: skip


def check(config):
    pass


def build(config, num_devices=1):
    return ShownTask()


def sheet(step, side=48):
    """Returns a picture whose colour says at which step it was drawn."""
    picture = np.zeros((side, side, 3), np.uint8)
    picture[..., 0] = (step * 5) % 256
    picture[: side // 2, :, 1] = 200
    return picture


class ShownTask(Task):
    batches_per_step = 2
    watched, headline, unroll = (), (), False

    def load_sampler(self, workdir, step, *, ema_sigma=None):
        checkpoint.pick(workdir, step)
        return ShownSampler(step)

    def preview(self, variables, step):
        return Preview(sheet(step), {}, np.zeros((1, 4, 4, 3), np.uint8), None)


class ShownSampler:
    variables, class_names = None, ()

    def __init__(self, step):
        self.step = step

    def exhibits(self, count):
        """Returns one image to point at, whose places look at themselves; and one with words."""
        image = np.full((4, 4, 3), 128, np.uint8)
        self_maps = np.eye(16).reshape(16, 4, 4)
        spoken = np.eye(4)[:2].reshape(2, 2, 2)
        return [
            Exhibit("a <b>disc</b>", image, [Look("attention_4", self_maps, "γ = 0.5")]),
            Exhibit("two words", image, [Look("words", spoken, "", ("two", "<i>words</i>"))]),
        ][:count]


def write_run(workdir, *, lines=20, sheets=(0, 10, 20), steps=20, checkpoints=(20,), scores=None,
              protocol=None, extra=None, **fields):  # fmt: skip
    """Makes a work directory as a training leaves it; returns it.

    Args:
      lines: number of lines of scalars, one for each step.
      scores: of `eval/<last checkpoint>.json`; None: there is none.
      extra: scalars by name, beside a loss.
      fields: of the config.
    """
    fields = {"name": "shown", "task": "support.shown_run"} | fields
    config = make(**fields, data={"name": "synthetic"}, train={"steps": steps, "batch_size": 8})
    checkpoint.claim(workdir, config)
    for step in checkpoints:
        write_checkpoint(workdir, step)
    extra = extra or {}
    with (workdir / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for step in range(1, lines + 1):
            values = {"loss/d": 1 / step, "time/step_seconds": 2.0 * step, "time/goodput": 0.5}
            file.write(json.dumps({"step": step} | values | extra) + "\n")
    for step in sheets:
        images.save(workdir / "samples" / f"{step}.png", sheet(step), {})
    if scores is not None:
        step = max(checkpoints)
        result = {"step": step, "metrics": scores, "protocol": PROTOCOL | (protocol or {})}
        (workdir / "eval").mkdir()
        (workdir / "eval" / f"{step}.json").write_text(json.dumps(result))
    return workdir


HOSTILE = "</script><script>window.struck=1</script><!--{{data}}\"'&ü→"


def hostile_run(tmp_path):
    """A work directory whose name, scalars and alarms would be HTML."""
    name = HOSTILE.replace("/", "")
    workdir = write_run(
        tmp_path / name, name=name, extra={HOSTILE: 1.0}, scores={HOSTILE: 1.0},
        protocol={"reference": HOSTILE},
    )  # fmt: skip
    (workdir / "alarms.json").write_text(json.dumps([{"step": 5, "alarm": HOSTILE}]))
    return workdir
