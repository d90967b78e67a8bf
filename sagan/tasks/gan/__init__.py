"""Generative adversarial networks."""

from pathlib import Path

from sagan.config import Config
from sagan.evaluation import ScoreSpec
from sagan.evaluation.image_scorer import ImageScorer
from sagan.tasks.gan import sample


class Gan:
    """A generator and a discriminator; see `sagan.evaluation.ScoredTask`."""

    def __init__(self, config: Config):
        self._config = config

    def scorer(self, spec: ScoreSpec) -> ImageScorer:
        config = self._config
        num_classes = config.model.num_classes
        batches = config.checkpoint.statistics_batches
        return ImageScorer(
            spec,
            config.data,
            config.model.image_size,
            num_classes if isinstance(num_classes, int) else None,
            {
                "quantisation": "round",
                "batch_norm": f"standing, {batches} training batches",
                "ema": config.optim.ema_decay > 0,
            },
        )

    def load_sampler(self, workdir: Path, step: int) -> sample.Sampler:
        return sample.load(workdir, step)
