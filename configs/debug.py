"""A run of seconds that needs no data: to try a command, a machine, a cluster.

Run: sagan train debug
Hardware: anything.
Expect: discs of four hues, barely; 20 steps in a few seconds after compiling.
"""

from sagan.config import Config, make


def get_config() -> Config:
    return make(
        name="debug",
        data=dict(name="synthetic", flip=True),
        model=dict(
            image_size=8, g_channels=8, d_channels=8, z_dim=16, attention=(8,), attention_d=(4,)
        ),
        optim=dict(ema_decay=0.9, ema_start_step=0),
        train=dict(steps=20, batch_size=16),
        log=dict(every_steps=5),
        sample=dict(every_steps=10),
        checkpoint=dict(every_steps=10, statistics_batches=4),
        eval=dict(
            features="classifier",
            metrics=("classifier_fid",),
            num_images=256,
            best_metric="classifier_fid",
        ),
    )
