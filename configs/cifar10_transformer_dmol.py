"""CIFAR-10 at 32 px by an Image Transformer that predicts whole pixels as mixtures of logistics.

Run: sagan train cifar10_transformer_dmol data.dir=FOLDER   (as cifar10_transformer)
Hardware: one GPU or TPU core, for days.
Expect: 2.90 bits per dimension of the test images (Parmar et al. 2018, Table 4, with 14 layers and
    dropout 0.2); not measured here.

Settings: `imagetransformer_cifar10_base_dmol` of tensor2tensor, which has 12 layers.
Data: Krizhevsky 2009.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("cifar10_transformer"),
        name="cifar10_transformer_dmol",
        model=dict(
            output="logistics",
            mixtures=10,
            layers=12,
            features=256,
            heads=8,
            attention_channels=512,
            feed_forward=512,
            positions="learned",
            dropout=0.1,
        ),
        optim=dict(learning_rate=0.1),
        train=dict(batch_size=64),
    )
