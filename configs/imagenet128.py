"""SAGAN on ImageNet at 128 px by the recipe that reproduces: attention at 64x64, averaged weights.

Run: sagan train imagenet128 data.dir=FOLDER   (a prepared tfds imagenet2012)
Hardware: 8 accelerators or more. One H200 takes 1,811 images/s in bfloat16: 1M steps in 39 h,
    826k in 32 h, computed from the time of one step.
Expect: mmgeneration's run of this recipe reports IS 69.54 and FID 12.83 after 826k steps (its
    own evaluator, whole train set). Not measured here.

Against `imagenet128_paper`: attention at 64, EMA 0.999 from step 2000, Adam's beta2 0.999,
    batch statistics of the whole batch (theirs: of 32 images). `model.dtype=bfloat16` is faster
    on accelerators; that it ends as well is not proven at this size, so it is not the default.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("imagenet128_paper"),
        name="imagenet128",
        model={"attention": (64,)},
        optim={"beta2": 0.999, "ema_decay": 0.999, "ema_start_step": 2000},
    )
