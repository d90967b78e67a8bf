"""Handwritten digits at their own 8 px, class-conditional, on two CPU cores: the default.

Run: sagan train
Hardware: two CPU cores; nothing to download (the data come with scikit-learn).
Expect: digits a person reads at once in five minutes; scores at the end.
"""

from sagan.config import Config, make


def get_config() -> Config:
    return make(
        name="digits",
        data=dict(name="digits"),
        model=dict(
            image_size=8,
            num_classes=10,
            z_dim=32,
            g_channels=16,
            d_channels=32,
            attention=(8,),
            attention_d=(4,),
        ),
        optim=dict(
            g_learning_rate=4e-4,
            d_learning_rate=8e-4,
            beta1=0.0,
            beta2=0.99,
            ema_decay=0.995,
            ema_start_step=100,
        ),
        train=dict(steps=1500, batch_size=64),
        log=dict(every_steps=50),
        sample=dict(every_steps=500),
        checkpoint=dict(every_steps=500, statistics_batches=32),
        eval=dict(
            at_end=True,
            features="classifier",
            metrics=("classifier_fid", "classifier_score", "class_accuracy"),
            num_images=1000,
            best_metric="classifier_fid",
        ),
    )
