"""Captioning: Show, Attend and Tell (arXiv:1502.03044), with soft or hard attention.

| file | what it holds |
|---|---|
| `step.py` | the algorithm: one training step, and both objectives |
| `sections.py` | the sections `optim` and `train` of the config |
| `encoders/` | a file for each network that sees the images |
| `writing.py` | beam search |
| `sampler.py`, `pictures.py` | a checkpoint that writes captions; where it looked |
| `scores.py`, `bleu.py` | scores of held-out images |
| `health.py` | signs that captions no longer depend on the image |
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from sagan import data
from sagan.config import Config, GuardConfig, plugins
from sagan.config.fields import require
from sagan.data import Source
from sagan.data.pipeline import Batch
from sagan.evaluation import ScoreSpec
from sagan.models import show_attend_tell
from sagan.runs import checkpoint
from sagan.tasks import Preview, Scalars, require_usual_average
from sagan.tasks.captioning import pictures
from sagan.tasks.captioning.health import CaptionHealth
from sagan.tasks.captioning.sampler import CaptionSampler
from sagan.tasks.captioning.scores import CaptionScorer
from sagan.tasks.captioning.sections import OptimConfig, TrainConfig
from sagan.tasks.captioning.step import Captioning, CaptionState, optimizer, train_step

__all__ = ["VERB", "OptimConfig", "TrainConfig", "build", "check"]
VERB = "caption"


def check(config: Config) -> None:
    """Raises: ConfigError for other networks, an unknown encoder, or a size that it cannot see."""
    model: Any = config.model
    require(
        isinstance(model, show_attend_tell.Config),
        f"model.name={model.name!r} with task=captioning; allowed: show_attend_tell",
    )
    for name in ("vocabulary_size", "max_words"):
        require(
            getattr(model, name) != "data",
            f"model.{name}=data is not known yet; give a number, or the data",
        )
    require(not config.data.flip, "data.flip=true would swap left and right; allowed: false")
    _encoder(model).grid(model.image_size)


def build(config: Config, num_devices: int) -> "CaptioningTask":
    """Returns the task of a resolved config.

    Raises: ConfigError as `check`.
    """
    del num_devices
    check(config)
    return CaptioningTask(config)


def _encoder(model: Any) -> Any:
    return plugins.load("encoders", model.encoder, field="model.encoder")


class CaptioningTask:
    """See `sagan.tasks.Task`."""

    batches_per_step = 1
    watched: tuple[str, ...] = ("loss/caption", "grad_norm")
    headline: tuple[str, ...] = ("loss/caption", "loss/word")
    unroll = False

    def __init__(self, config: Config):
        self._config = config
        self._model: Any = config.model
        self._encoder = _encoder(config.model)
        optim: Any = config.optim
        train: Any = config.train
        network = show_attend_tell.build(self._model)
        self.parts = Captioning(network, self._encoder.annotate, self._model, optim, train)

    def init(self, keys: Sequence[Key[Array, ""]]) -> CaptionState:
        size = self._model.image_size
        encoder = self._encoder.init(keys[1], size)
        annotations = self._encoder.annotate(encoder, jnp.zeros((1, size, size, 3)))
        params = self.parts.network.init(keys[0], annotations)["params"]
        zero = jnp.zeros(())
        state = optimizer(self.parts.optim, zero).init(params)
        return CaptionState(params, encoder, state, zero)

    def pretrained(self, state: CaptionState, place: Callable[[Any], Any]) -> CaptionState:
        return state._replace(encoder=place(self._encoder.load(self._model.encoder_weights)))

    def step(
        self, state: CaptionState, batches: Batch, step: Int[Array, ""], key: Key[Array, ""]
    ) -> tuple[CaptionState, Scalars]:
        batch = jax.tree.map(lambda x: x[0], batches)
        return train_step(self.parts, state, batch, step, key)

    def telemetry(self, state: CaptionState) -> Scalars:
        """Returns the baseline that hard attention compares with."""
        return {"baseline": state.baseline} if self._model.attention == "hard" else {}

    def snapshot(self, state: CaptionState) -> Any:
        return {"params": state.params, "encoder": state.encoder}

    def inference(self, snapshot: Any, *, quick: bool = False) -> Any:
        del quick
        return snapshot

    @functools.cached_property
    def _shown(self) -> tuple[np.ndarray, tuple[str, ...]]:
        """The images of previews; the vocabulary."""
        source = pictures.unseen(self._config)
        count = min(self._config.sample.num_per_class, len(source))
        images, _ = data.read(source, range(count))
        return images, data.vocabulary_of(source)

    def lasting(self, state: Any) -> dict[str, Any]:
        del state
        return {}

    def preview(self, variables: Any, step: int) -> Preview:
        """Draws a row of panels for each image: the image, and where each word was looked for."""
        images, vocabulary = self._shown
        sampler = CaptionSampler(self._config, step, vocabulary, variables)
        found = sampler.caption(images, self._model.beam)
        rows = zip(images, found.words, found.attention, strict=True)
        picture = pictures.stacked([pictures.panels(*row) for row in rows])
        return Preview(picture, {"step": step, "captions": found.texts}, images, None)

    def health(
        self, config: GuardConfig, source: Source, memory: Mapping[str, Any] | None
    ) -> CaptionHealth:
        del config, source
        return CaptionHealth(memory)

    def scorer(self, spec: ScoreSpec) -> CaptionScorer:
        return CaptionScorer(spec, self._config)

    def load_sampler(
        self, workdir: Path, step: int, *, ema_sigma: float | None = None
    ) -> CaptionSampler:
        require_usual_average(self._config, ema_sigma)
        checkpoint.pick(workdir, step)  # checks that it is there, and whole
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device),
            jax.eval_shape(lambda: self.snapshot(self.init(list(_keys())))),
        )
        variables, about = checkpoint.restore_sampler(workdir, step, shapes)
        return CaptionSampler(self._config, step, tuple(about["vocabulary"]), variables)

    def parameters(self, state: CaptionState) -> dict[str, Any]:
        return {"captioner": dict(state.params), "encoder": dict(state.encoder)}

    def activation_bytes(self, batch_size: int) -> int:
        """Adds up what the gradient of each word needs, and the annotations."""
        model, size = self._model, self._model.image_size
        encoder = jax.eval_shape(lambda: self._encoder.init(_keys()[0], size))
        images = jax.ShapeDtypeStruct((1, size, size, 3), "float32")
        places, width = jax.eval_shape(self._encoder.annotate, encoder, images).shape[1:]
        word = places * (model.attention_dim + 3) + width + 10 * model.hidden_dim
        word += 3 * model.word_dim + 2 * model.vocabulary_size
        kept = places * (width + 2 * model.attention_dim) + (model.max_words + 1) * word
        return 4 * batch_size * kept


def _keys() -> Key[Array, " 3"]:
    return jax.random.split(jax.random.key(0), 3)
