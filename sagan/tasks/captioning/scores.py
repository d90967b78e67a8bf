"""The `Scorer` of captioning runs: captions of held-out images beside the correct ones."""

import time
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from sagan import data
from sagan.config import Config, ConfigError
from sagan.config.fields import closest, require
from sagan.data.captions import words
from sagan.evaluation import RealScores, ScoreSpec, protocol
from sagan.tasks.captioning.bleu import corpus_bleu
from sagan.tasks.captioning.sampler import Captions, CaptionSampler

METRICS = ("bleu", "bleu_paper", "exact_match", "pointing")


class CaptionScorer:
    """Scores captions of the held-out split, or of another one; METEOR is not among the scores.

    | metric | what it is |
    |---|---|
    | `bleu` | BLEU-4 of the corpus, in [0, 100]; parts 1, 2, 3 are BLEU-1, 2, 3 |
    | `bleu_paper` | the same without the brevity penalty, as in Show, Attend and Tell |
    | `exact_match` | share of captions that equal a correct one |
    | `pointing` | share of the words with a box whose attention is greatest inside it |

    `pointing` needs data with boxes; its part `mass` is the mean attention inside the box. The k-th
    number word of a caption belongs to the k-th box, and one without a box counts as wrong.

    Raises: ConfigError for unknown metrics, options that captions do not have, or data without a
      held-out split.
    """

    def __init__(self, spec: ScoreSpec, config: Config):
        self._spec, self._config = spec, config
        for name in spec.metrics:
            require(
                name in METRICS,
                f"unknown metric {name!r}{closest(name, METRICS)}; captioning runs have: "
                f"{', '.join(METRICS)}",
            )
        for name in ("weights", "truncation", "num_real"):
            found = getattr(spec, name)
            require(found is None, f"{name}={found}: captions are scored without it")
        require(
            spec.seeds == (0,), f"seeds={spec.seeds}: nothing is drawn when captions are written"
        )
        size = config.model.image_size
        train = data.load(config.data, size, quiet=True)
        asked = None if spec.reference is None else _split_of(spec.reference, config)
        self._split = asked or getattr(train, "held_out", None) or config.data.split
        self._source: Any = train
        if self._split != config.data.split:
            self._source = data.load(config.data, size, split=self._split, quiet=True)
        self._count = min(spec.num_images, len(self._source))
        self.check()

    @property
    def spec(self) -> ScoreSpec:
        return self._spec

    def check(self) -> None:
        """Raises: ConfigError if a metric needs boxes, and the data have none."""
        if "pointing" in self._spec.metrics and "boxes" not in data.fields_of(self._source):
            raise ConfigError(f"metric pointing needs boxes; {self._config.data.name} has none")

    def keys(self) -> list[str]:
        """Returns the names that the scores begin with, one per metric."""
        return [protocol.key(name, self._count) for name in self._spec.metrics]

    def protocol(self) -> dict[str, Any]:
        """Returns the fingerprint that scores are stored with."""
        model: Any = self._config.model
        return {
            "features": None,
            "resizer": None,
            "reference": f"{self._config.data.name}:{self._split}",
            "reference_sha256": self._source.key,
            "num_real": self._count,
            "num_fake": self._count,
            "image_size": model.image_size,
            "beam": model.beam,
            "attention": model.attention,
        }

    def score_real(self) -> RealScores | None:
        """Returns None: correct captions are what captions are compared with."""
        return None

    def score(self, sampler: CaptionSampler) -> dict[str, Any]:
        """Scores a checkpoint; returns what `eval/<step>.json` holds."""
        started = time.monotonic()
        model: Any = self._config.model
        images, _, fields = data.read_all(self._source, range(self._count))
        found = sampler.caption(images, model.beam)
        vocabulary = data.vocabulary_of(self._source)
        correct = [[words(row, vocabulary) for row in rows] for rows in fields["captions"]]
        scores: dict[str, float] = {}
        for name, key in zip(self._spec.metrics, self.keys(), strict=True):
            if name.startswith("bleu"):
                bleu = corpus_bleu(found.words, correct, brevity=name == "bleu")
                scores |= {key: bleu[3]} | {f"{key}_{n}": bleu[n - 1] for n in (1, 2, 3)}
            elif name == "exact_match":
                pairs = zip(found.words, correct, strict=True)
                scores[key] = float(np.mean([written in rows for written, rows in pairs]))
            else:
                accuracy, mass = pointing(
                    found, fields["boxes"], self._source.boxed_words, model.image_size
                )
                scores |= {key: accuracy, f"{key}_mass": mass}
        return {
            "step": sampler.step,
            "metrics": scores,
            "higher_is_better": True,
            "protocol": self.protocol(),
            "warnings": [],
            "seconds": round(time.monotonic() - started, 3),
        }


def _split_of(reference: str, config: Config) -> str:
    """Returns the split of the run's own data that a reference names."""
    name, _, split = reference.rpartition(":")
    own = dict.fromkeys((config.name, config.data.name))
    require(
        name in own and bool(split),
        f"reference={reference}: captions are scored on the run's own data; allowed: "
        f"{' or '.join(f'{each}:SPLIT' for each in own)}",
    )
    return split


def pointing(
    found: Captions, boxes: Int[np.ndarray, "N K 4"], boxed_words: tuple[str, ...], image_size: int
) -> tuple[float, float]:
    """Returns how often attention is greatest inside the box of a word, and how much is inside.

    Where several places have the greatest weight, the fraction of them that is inside counts.

    Args:
      boxes: (top, left, bottom, right) in px; rows of -1 are none.

    Returns: share of the boxed words written, and mean weight inside; (0, 0) if none was written.
    """
    hits, masses = [], []
    for sentence, maps, around in zip(found.words, found.attention, boxes, strict=True):
        named = [n for n, word in enumerate(sentence) if word in boxed_words]
        for order, n in enumerate(named):
            inside = _inside(around[order], len(maps[n]), image_size) if order < len(around) else 0
            greatest = maps[n] == maps[n].max()
            hits.append(float((greatest * inside).sum() / greatest.sum()))
            masses.append(float((maps[n] * inside).sum()))
    return (float(np.mean(hits)), float(np.mean(masses))) if hits else (0.0, 0.0)


def _inside(box: Int[np.ndarray, " 4"], side: int, image_size: int) -> Float[np.ndarray, "G G"]:
    """Returns 1 for places whose middle is inside a box, else 0."""
    middle = (np.arange(side) + 0.5) * image_size / side
    top, left, bottom, right = box
    rows, columns = (middle >= top) & (middle < bottom), (middle >= left) & (middle < right)
    return (rows[:, None] & columns[None]).astype(np.float32)
