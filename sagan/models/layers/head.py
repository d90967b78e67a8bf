"""The last layer of a discriminator: logits, and what the loss of its conditioning reads."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Conditioning = Literal["projection", "ac", "tac", "contrastive", "d2d_ce", "multi_hinge"]


class Judged(NamedTuple):
    """What a discriminator says about a batch, where logits are not all; see `Head`.

    Attributes:
      logits: higher = real.
      classes: a logit for each class; for `multi_hinge` one more, of "generated", comes last.
      twin: of `tac`, the logits of a second classifier, which learns generated images.
      embedding, proxy: of `contrastive` and `d2d_ce`, unit vectors of the images and their labels.
      direction: of a sliced head, the logits that teach the direction alone.
    """

    logits: Float[Array, " B"]
    classes: Float[Array, "B K"] | None = None
    twin: Float[Array, "B K"] | None = None
    embedding: Float[Array, "B E"] | None = None
    proxy: Float[Array, "B E"] | None = None
    direction: Float[Array, " B"] | None = None


class Head(nn.Module):
    """Returns logits (B,), or `Judged` while training if the loss of the conditioning reads more.

    | conditioning | what the labels do |
    |---|---|
    | `projection` | the label's embedding projects the features: logit = w h + b + <e, h> |
    | `ac` | a classifier beside the logit |
    | `tac` | two classifiers beside the logit |
    | `contrastive`, `d2d_ce` | embeddings of images, and a proxy of each class, beside the logit |
    | `multi_hinge` | a classifier of K classes and "generated"; the logit is a margin |

    Without classes there is only the logit. Its layers have the names that they would have in the
    module that calls it, if that shares its scope:

        head = Head(num_classes, conditioning, kernel_init)
        nn.share_scope(self, head)
        return head(h, label, train=train)

    Attributes:
      sliced: the logit is that of a slicing network, SAN (arXiv:2301.12811): it has no bias, and
        the vector that projects the features is not spectrally normalised. While training, the
        logits teach the features and the vector's length, and `Judged.direction` its direction.
      embed_dim: of the embeddings.

    Source: projection, arXiv:1802.05637, Eq. 3; ac, arXiv:1610.09585; tac, arXiv:1907.02690;
      contrastive, arXiv:2006.12681; d2d_ce, arXiv:2111.01118; multi_hinge, arXiv:1912.04216.
    """

    num_classes: int | None
    conditioning: Conditioning = "projection"
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    sliced: bool = False
    embed_dim: int = 512

    @nn.compact
    def __call__(
        self, h: Float[Array, "B C"], label: Int[Array, " B"] | None, *, train: bool
    ) -> Float[Array, " B"] | Judged:
        h = h.astype(jnp.float32)
        num, kind = self.num_classes, self.conditioning
        if num is None:
            return self._result(train, *self._logits(h, None))
        assert label is not None, "a conditional discriminator needs labels"
        if kind == "projection":
            return self._result(train, *self._logits(h, label))
        if kind == "multi_hinge":
            classes = self._dense(num + 1, "classes")(h)
            own = jnp.take_along_axis(classes, label[:, None], 1)[:, 0]
            return self._result(train, own - classes[:, -1], classes=classes)
        found = {}
        if kind in ("ac", "tac"):
            found["classes"] = self._dense(num, "classes")(h)
        if kind == "tac":
            found["twin"] = self._dense(num, "twin")(h)
        if kind in ("contrastive", "d2d_ce"):
            found["embedding"] = _unit(self._dense(self.embed_dim, "embed")(h))
            found["proxy"] = _unit(self._embed(self.embed_dim, "proxy")(label))
        return self._result(train, *self._logits(h, None), **found)

    def _result(
        self, train: bool, logits: Array, direction: Array | None = None, **found: Array
    ) -> Array | Judged:
        judged = Judged(logits, direction=direction, **found)
        return logits if not train or len(jax.tree.leaves(judged)) == 1 else judged

    def _logits(self, h: Array, label: Array | None) -> tuple[Array, Array | None]:
        """Returns logits and, if sliced, those of the direction."""
        if not self.sliced:
            logits = self._dense(1, "head")(h)[:, 0]
            if label is not None:
                logits = logits + (h * self._embed(h.shape[-1], "projection")(label)).sum(-1)
            return logits, None

        def vectors(name: str, rows: int) -> Array:
            return self.param(name, self.kernel_init, (h.shape[-1], rows)).T  # as a kernel has it

        w = vectors("vector", 1)
        if label is not None:
            assert self.num_classes is not None
            w = w + vectors("class_vectors", self.num_classes)[label]
        length = jnp.linalg.norm(w, axis=-1)
        unit = w / jnp.maximum(length, 1e-12)[:, None]
        fixed = jax.lax.stop_gradient
        logits = length * (fixed(unit) * h).sum(-1)
        return logits, fixed(length) * (unit * fixed(h)).sum(-1)

    def _dense(self, features: int, name: str) -> nn.Dense:
        return nn.Dense(features, kernel_init=self.kernel_init, name=name)

    def _embed(self, features: int, name: str) -> nn.Embed:
        assert self.num_classes is not None
        # Initialised like the other layers; the default of nn.Embed has another scale.
        return nn.Embed(self.num_classes, features, embedding_init=self.kernel_init, name=name)


def _unit(x: Float[Array, "B E"]) -> Float[Array, "B E"]:
    return x / jnp.sqrt((x**2).sum(-1, keepdims=True) + 1e-12)
