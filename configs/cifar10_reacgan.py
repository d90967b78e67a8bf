"""ReACGAN on CIFAR-10 at 32 px, by StudioGAN's recipe: BigGAN's networks, classes by D2D-CE.

Run: sagan train cifar10_reacgan data.dir=FOLDER   (FOLDER: data_dir of tensorflow-datasets)
Hardware: one GPU or TPU core. Not run here.
Expect: at 100k steps StudioGAN reports IS 9.85 and FID 3.87 (the benchmark table in its README,
    v0.4), with 50k samples against the 50k of train; not measured here.

Recipe: batch 128, Adam 2.828e-4, embeddings of 512, weight 0.5 and temperature 0.5 of the class
    loss (arXiv:2111.01118). The loss is the paper's; StudioGAN subtracts a
    maximum from some of its terms only, which changes the value.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("cifar10_biggan"),
        name="cifar10_reacgan",
        model=dict(d_conditioning="d2d_ce"),
        optim=dict(g_learning_rate=2.828e-4, d_learning_rate=2.828e-4),
        train=dict(batch_size=128),
    )
