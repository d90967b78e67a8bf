"""A plug-in feature network whose features are the mean and spread of the three colours."""

import numpy as np


class MeanColour:
    name = "colour"
    widths = {"pool": 6, "classifier_logits": 3}
    missing = {}

    def __init__(self, resizer="tf"):
        self.fingerprint = {"features": "colour", "weights_sha256": "00", "resizer": resizer}

    def __call__(self, images, outputs):
        x = images.astype(np.float32) / 255
        pool = np.concatenate([x.mean((1, 2)), x.std((1, 2))], axis=1)
        return {name: {"pool": pool, "classifier_logits": x.mean((1, 2))}[name] for name in outputs}


def load(*, weights=None, resizer="tf"):
    return MeanColour(resizer)
