"""The smallest real Image Transformer, shared by tests: grey digits in rectangles of 4 x 4."""

from pathlib import Path

from sagan.config import make

FILE = Path(__file__)
CONFIG = make(
    name="tiny_transformer",
    task="image_transformer",
    data={"name": "digits"},
    model={
        "name": "image_transformer",
        "image_size": 8,
        "num_classes": 10,
        "channels": 1,
        "levels": 17,
        "layers": 1,
        "features": 8,
        "heads": 2,
        "feed_forward": 8,
        "attention": "local_2d",
        "block": (4, 4),
        "memory": (2, 2),
        "dropout": 0.25,
        "init_gain": 1.0,
    },
    optim={"learning_rate": 0.01, "schedule": "one_cycle", "warmup_steps": 2, "decay_steps": 8,
           "ema_decay": 0.5},
    train={"steps": 4, "batch_size": 8, "soften": 0.1},
    log={"every_steps": 2},
    sample={"every_steps": 0},
    checkpoint={"every_steps": 2},
    eval={"at_end": True, "metrics": ("bits_per_dim",), "best_metric": "bits_per_dim"},
)  # fmt: skip


def get_config():
    return CONFIG
