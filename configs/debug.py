"""A run of seconds that needs no data: to try a command, a machine, a cluster.

Run: sagan train debug
Hardware: anything.
Expect: discs of four hues, barely; 20 steps in a few seconds after compiling.
"""

from sagan.config import (
    CheckpointConfig,
    Config,
    DataConfig,
    EvalConfig,
    LogConfig,
    ModelConfig,
    OptimConfig,
    SampleConfig,
    TrainConfig,
)


def get_config() -> Config:
    return Config(
        name="debug",
        data=DataConfig(name="synthetic", flip=True),
        model=ModelConfig(
            image_size=8, g_channels=8, d_channels=8, z_dim=16, attention=(8,), attention_d=(4,)
        ),
        optim=OptimConfig(ema_decay=0.9, ema_start_step=0),
        train=TrainConfig(steps=20, batch_size=16),
        log=LogConfig(every_steps=5),
        sample=SampleConfig(every_steps=10),
        checkpoint=CheckpointConfig(every_steps=10, statistics_batches=4),
        eval=EvalConfig(
            features="classifier",
            metrics=("classifier_fid",),
            num_images=256,
            best_metric="classifier_fid",
        ),
    )
