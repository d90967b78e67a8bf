"""Your own images: a folder with a sub-folder per class (or none: unconditional), at 64 px.

Run: sagan train folder data.dir=FOLDER [model.image_size=64|128|256]
Hardware: one accelerator for a few thousand images.
Expect: depends on the images; `sagan check folder data.dir=FOLDER` first.
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
        name="folder",
        data=DataConfig(name="folder", flip=True),
        model=ModelConfig(image_size=64, attention=(32,)),
        optim=OptimConfig(beta2=0.999, ema_decay=0.999, ema_start_step=1000),
        train=TrainConfig(steps=100_000, batch_size=64),
        log=LogConfig(every_steps=100),
        sample=SampleConfig(every_steps=1000),
        checkpoint=CheckpointConfig(every_steps=1000),
        eval=EvalConfig(metrics=("fid", "is"), num_images=10_000),
    )
