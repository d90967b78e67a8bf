"""Your own images: a folder with a sub-folder per class (or none: unconditional), at 64 px.

Run: sagan train folder data.dir=FOLDER [model.image_size=64|128|256]
Hardware: one accelerator for a few thousand images.
Expect: depends on the images; `sagan check folder data.dir=FOLDER` first.
"""

from sagan.config import Config, make


def get_config() -> Config:
    return make(
        name="folder",
        data=dict(name="folder", flip=True),
        model=dict(image_size=64, attention=(32,)),
        optim=dict(beta2=0.999, ema_decay=0.999, ema_start_step=1000),
        train=dict(steps=100_000, batch_size=64),
        log=dict(every_steps=100),
        sample=dict(every_steps=1000),
        checkpoint=dict(every_steps=1000),
        eval=dict(metrics=("fid", "is"), num_images=10_000),
    )
