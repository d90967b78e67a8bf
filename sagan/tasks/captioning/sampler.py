"""A trained captioner: what `sagan.load` returns for a captioning run."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike

from sagan import data
from sagan.config import Config
from sagan.config.fields import require
from sagan.data.captions import words
from sagan.tasks.captioning import pictures, writing
from sagan.tasks.exhibits import Exhibit, Look

_AT_A_TIME = 64  # images in one call of the program


class Captions(NamedTuple):
    """Captions of N images.

    Attributes:
      texts: one sentence for each image.
      words: the words of each.
      attention: for each image, one map of (G, G) places for each of its words; each sums to 1.
      log_p: the logarithm of each caption's probability.
    """

    texts: list[str]
    words: list[list[str]]
    attention: list[Float[np.ndarray, "T G G"]]
    log_p: list[float]


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class CaptionSampler:
    """A checkpoint that says what images show, word by word.

        captioner = sagan.load("runs/captions")
        found = captioner.caption(images)              # uint8 (N, S, S, 3)
        found.texts[0], found.attention[0][1]          # the text; where its second word looked

    Attributes:
      config: of the run.
      step: of the checkpoint.
      vocabulary: the words by their numbers; see `sagan.data.captions`.
      variables: `params` of the captioner and of its `encoder`.
    """

    config: Config
    step: int
    vocabulary: tuple[str, ...]
    variables: Any
    class_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        model: Any = self.config.model
        return (
            f"<sagan captioner: step {self.step}, {self.image_size} px, {model.attention} "
            f"attention, {len(self.vocabulary)} words>"
        )

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.config.model.image_size

    def caption(self, images: ArrayLike, beam: int | None = None) -> Captions:
        """Writes a caption for each image.

        Args:
          images: uint8 (N, S, S, 3), RGB, of `image_size` pixels.
          beam: captions of each image that are kept from word to word; 1 takes the likeliest word
            each time, 10 or so often finds a likelier caption. None: the config's `model.beam`.

        Raises: ConfigError for images of another shape or type, or a beam that is not positive.
        """
        size = self.image_size
        pixels = np.asarray(images)
        require(
            pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[1:] == (size, size, 3),
            f"images are {pixels.dtype} of shape {pixels.shape}; allowed: uint8 "
            f"(N, {size}, {size}, 3)",
        )
        model: Any = self.config.model
        beam = model.beam if beam is None else beam
        is_count = isinstance(beam, int) and not isinstance(beam, bool) and beam >= 1
        require(is_count, f"beam={beam!r}; allowed: whole numbers >= 1")
        found: list[Any] = []
        for begin in range(0, len(pixels), _AT_A_TIME):
            part = pixels[begin : begin + _AT_A_TIME]
            whole = _filled(part, min(_AT_A_TIME, len(pixels)))
            shown = whole.astype(np.float32) * np.float32(2 / 255) - 1
            rows = writing.captions(model, beam, self.variables, shown)
            found += list(zip(*(np.asarray(row)[: len(part)] for row in rows), strict=True))
        return self._read(found)

    def exhibits(self, count: int) -> list[Exhibit]:
        """Returns unseen images of the run's data, and where each word of a caption was looked for.

        Raises: ConfigError if the data cannot be opened.
        """
        source = pictures.unseen(self.config)
        images, _ = data.read(source, range(min(count, len(source))))
        model: Any = self.config.model
        found = self.caption(images, model.beam)
        rows = zip(found.texts, images, found.attention, found.words, strict=True)
        note = f"{model.attention} attention"
        return [
            Exhibit(text, image, [Look("attention", maps, note, tuple(sentence))])
            for text, image, maps, sentence in rows
            if sentence
        ]

    def _read(self, found: Sequence[Any]) -> Captions:
        side = round(found[0][1].shape[-1] ** 0.5) if found else 0
        written = [words(row, self.vocabulary) for row, _, _ in found]
        maps = [
            alpha[: len(sentence)].reshape(-1, side, side)
            for sentence, (_, alpha, _) in zip(written, found, strict=True)
        ]
        texts = [" ".join(sentence) for sentence in written]
        return Captions(texts, written, maps, [float(log_p) for _, _, log_p in found])


def _filled(part: UInt8[np.ndarray, "n S S 3"], count: int) -> UInt8[np.ndarray, "N S S 3"]:
    """Adds black images, so that the last call has the shape of the others."""
    return np.concatenate([part, np.zeros((count - len(part), *part.shape[1:]), np.uint8)])
