"""Generators and discriminators of other projects, restated in torch from what they compute.

A `Peer` makes its arrays when they are first used, under the project's names and in the order of
use, so that running a network once fills it with random weights.
"""

import math

import pytest

CLASSES = 4


class Peer:
    """Layers that find their weights by name; `state` is what the project would save.

    Args:
      style: how spectral norm is stored and used: `u0` (BigGAN-PyTorch), `moving` (torch's layers
        in training, as StudioGAN evaluates), `fixed` (torch's layers in evaluation), or None.
    """

    def __init__(self, style, seed=0):
        self.t = pytest.importorskip("torch")
        self.f = self.t.nn.functional
        self.style, self.state = style, {}
        self._random = self.t.Generator().manual_seed(seed)

    def normal(self, shape, spread=1.0):
        return spread * self.t.randn(shape, generator=self._random)

    def get(self, key, shape, spread=0.3, mean=0.0):
        if key not in self.state:
            self.state[key] = mean + self.normal(shape, spread)
        return self.state[key]

    def positive(self, key, shape):
        if key not in self.state:
            self.state[key] = 0.8 + self.t.rand(shape, generator=self._random)
        return self.state[key]

    def weight(self, key, shape, norm=True):
        """A weight (out, ...), divided by the sigma that the project's evaluation computes."""
        spread = 1 / math.sqrt(math.prod(shape[1:]))
        if self.style is None or not norm:
            return self.get(f"{key}.weight", shape, spread)
        unit = lambda x: x / x.norm()  # noqa: E731
        if self.style == "u0":
            w = self.get(f"{key}.weight", shape, spread)
            matrix = w.flatten(1)
            u = self.get(f"{key}.u0", (1, shape[0]))
            self.get(f"{key}.sv0", (1,))
            v = unit(u @ matrix)
            return w / (v @ matrix.T @ unit(v @ matrix.T).T).squeeze()
        w = self.get(f"{key}.weight_orig", shape, spread)
        matrix = w.flatten(1)
        u = self.get(f"{key}.weight_u", (shape[0],))
        v = self.get(f"{key}.weight_v", (matrix.shape[1],))
        if self.style == "moving":  # the stored pair is too short, as after averaging
            v = unit(matrix.T @ u)
            u = unit(matrix @ v)
        elif not math.isclose(float(u.norm()), 1, abs_tol=1e-4):
            # As two iterations of training leave the pair, before they have converged.
            for _ in range(2):
                v = unit(matrix.T @ u)
                u = unit(matrix @ v)
            self.state[f"{key}.weight_u"], self.state[f"{key}.weight_v"] = u, v
        return w / (u @ matrix @ v)

    def conv(self, x, key, out, size=3, bias=True):
        w = self.weight(key, (out, x.shape[1], size, size))
        return self.f.conv2d(x, w, self.get(f"{key}.bias", (out,)) if bias else None,
                             padding=size // 2)  # fmt: skip

    def linear(self, x, key, out, bias=True):
        w = self.weight(key, (out, x.shape[1]))
        return self.f.linear(x, w, self.get(f"{key}.bias", (out,)) if bias else None)

    def embed(self, key, label, classes, width, norm=True):
        return self.weight(key, (classes, width), norm)[label]

    def up(self, x):
        return self.f.interpolate(x, scale_factor=2, mode="nearest")

    def pool(self, x):
        return self.f.avg_pool2d(x, 2)

    def batch_norm(self, x, mean, var, gain, bias, eps):
        x = (x - mean[:, None, None]) / (var + eps).sqrt()[:, None, None]
        return x * gain[..., None, None] + bias[..., None, None]

    def attention(self, x, names, gate):
        b, c, h, w = x.shape
        theta, phi, g, o = names
        query = self.conv(x, theta, c // 8, 1, bias=False).flatten(2)
        key = self.f.max_pool2d(self.conv(x, phi, c // 8, 1, bias=False), 2).flatten(2)
        value = self.f.max_pool2d(self.conv(x, g, c // 2, 1, bias=False), 2).flatten(2)
        weights = self.t.softmax(query.transpose(1, 2) @ key, -1)
        gathered = (value @ weights.transpose(1, 2)).view(b, c // 2, h, w)
        return x + self.get(*gate, mean=0.7) * self.conv(gathered, o, c, 1, bias=False)


class BigganPytorch(Peer):
    """32 px, ch 4: BigGAN with attention at 16 px, or its SAGAN without a shared class vector."""

    def __init__(self, *, shared=True, norms="", **options):
        super().__init__("u0", **options)
        self.shared, self.norms = shared, norms

    def norm(self, x, key, condition):
        c = x.shape[1]
        names = {"": "stored_{}", "mybn": "bn.stored_{}", "cross": "bn.running_{}"}[self.norms]
        mean = self.get(f"{key}.{names.format('mean')}", (c,))
        var = self.positive(f"{key}.{names.format('var')}", (c,))
        if self.norms == "mybn":
            count = self.get(f"{key}.bn.accumulation_counter", (), spread=0, mean=2.0)
            mean, var = mean / count, var / count
        if condition is None:
            gain, bias = self.get(f"{key}.gain", (c,), mean=1.0), self.get(f"{key}.bias", (c,))
            return self.batch_norm(x, mean, var, gain, bias, 1e-5)
        if self.shared:
            gain, bias = (self.linear(condition, f"{key}.{n}", c, False) for n in ("gain", "bias"))
        else:
            gain, bias = (
                self.embed(f"{key}.{n}", condition, CLASSES, c, False) for n in ("gain", "bias")
            )
        return self.batch_norm(x, mean, var, 1 + gain, bias, 1e-5)

    def gen(self, z, label):
        chunks, y = [z] * 4, label
        if self.shared:
            y = self.embed("shared", label, CLASSES, 5, norm=False)
            chunks = z.chunk(4, 1)
        x = self.linear(chunks[0], "linear", 16 * 16).view(len(z), 16, 4, 4)
        for n in range(3):
            condition = self.t.cat([y, chunks[n + 1]], 1) if self.shared else y
            h = self.f.relu(self.norm(x, f"blocks.{n}.0.bn1", condition))
            h = self.conv(self.up(h), f"blocks.{n}.0.conv1", 16)
            h = self.f.relu(self.norm(h, f"blocks.{n}.0.bn2", condition))
            h = self.conv(h, f"blocks.{n}.0.conv2", 16)
            x = h + self.conv(self.up(x), f"blocks.{n}.0.conv_sc", 16, 1)
            if n == 1:
                x = self.nonlocal_block(x, f"blocks.{n}.1")
        x = self.f.relu(self.norm(x, "output_layer.0", None))
        return self.t.tanh(self.conv(x, "output_layer.2", 3))

    def nonlocal_block(self, x, key):
        return self.attention(x, [f"{key}.{n}" for n in ("theta", "phi", "g", "o")],
                              (f"{key}.gamma", ()))  # fmt: skip

    def disc(self, x, label):
        for n in range(4):
            h = self.f.relu(x) if n else x
            h = self.f.relu(self.conv(h, f"blocks.{n}.0.conv1", 16))
            h = self.conv(h, f"blocks.{n}.0.conv2", 16)
            if n < 2:
                h, x = self.pool(h), self.conv(self.pool(x), f"blocks.{n}.0.conv_sc", 16, 1)
            x = h + x
            if n == 0:
                x = self.nonlocal_block(x, f"blocks.{n}.1")
        return self.judge(x, label, "linear", "embed")

    def judge(self, x, label, linear, embed):
        h = self.f.relu(x).sum((2, 3))
        return self.linear(h, linear, 1)[:, 0] + (
            h * self.embed(embed, label, CLASSES, h.shape[1])
        ).sum(1)


class BigganPytorchDeep(BigganPytorch):
    """32 px, ch 4, depth 2."""

    blocks, convs, skip = "blocks.{}.0", "conv{}", "conv_sc"
    first, last, out, head, proxy = "linear", "output_layer.0", "output_layer.2", "linear", "embed"
    attends_inside = True  # attention belongs to a block, or is one of its own

    def gen(self, z, label):
        condition = self.t.cat([self.embed("shared", label, CLASSES, 5, norm=False), z], 1)
        x = self.linear(condition, self.first, 16 * 16).view(len(z), 16, 4, 4)
        number = 0
        for stage in range(3):
            for n in range(2):
                key = self.blocks.format(number)
                number += 1
                h = x
                for k in range(1, 5):
                    h = self.f.relu(self.norm(h, f"{key}.bn{k}", condition))
                    h = self.up(h) if (n, k) == (1, 2) else h
                    width, size = (16, 1) if k == 4 else (4, 1 if k == 1 else 3)
                    h = self.conv(h, f"{key}.{self.convs.format(k)}", width, size)
                x = h + (self.up(x) if n else x)
            if stage == 1:
                x = self.nonlocal_block(x, f"blocks.{number - 1}.1" if self.attends_inside
                                        else f"blocks.{number}.0")  # fmt: skip
                number += not self.attends_inside
        x = self.f.relu(self.norm(x, self.last, None))
        return self.t.tanh(self.conv(x, self.out, 3))

    def disc(self, x, label):
        x = self.conv(x, "input_conv", 16)
        number = 0
        for stage in range(3):
            for n in range(2):
                key = f"blocks.{stage}.{n}" if self.attends_inside else f"blocks.{number}.0"
                number += 1
                h = self.f.relu(x)
                x = x if self.attends_inside else h  # StudioGAN's ReLU overwrites x
                for k in (1, 2, 3):
                    h = self.conv(h, f"{key}.{self.convs.format(k)}", 4, 1 if k == 1 else 3)
                    h = self.f.relu(h)
                if stage < 2 and n == 0:
                    h, x = self.pool(h), self.pool(x)
                x = x + self.conv(h, f"{key}.{self.convs.format(4)}", 16, 1)
            if stage == 0:
                x = self.nonlocal_block(x, "blocks.0.2" if self.attends_inside
                                        else f"blocks.{number}.0")  # fmt: skip
                number += not self.attends_inside
        return self.judge(x, label, self.head, self.proxy)


def _studiogan_norm(self, x, key, condition):
    c = x.shape[1]
    inner = key if condition is None else f"{key}.bn"
    mean = self.get(f"{inner}.running_mean", (c,))
    var = self.positive(f"{inner}.running_var", (c,))
    self.state[f"{inner}.num_batches_tracked"] = self.t.tensor(7)
    if condition is None:
        gain, bias = self.get(f"{key}.weight", (c,), mean=1.0), self.get(f"{key}.bias", (c,))
        return self.batch_norm(x, mean, var, gain, bias, 1e-4)
    if condition.ndim == 1 and self.older:
        gain, bias = (self.embed(f"{key}.{n}", condition, CLASSES, c) for n in ("embed0", "embed1"))
    else:
        if condition.ndim == 1:
            condition = self.f.one_hot(condition, CLASSES).float()
        gain, bias = (self.linear(condition, f"{key}.{n}", c, False) for n in ("gain", "bias"))
    return self.batch_norm(x, mean, var, 1 + gain, bias, 1e-4)


def _studiogan_attention(self, x, key):
    names = [f"{key}.conv1x1_{n}" for n in ("theta", "phi", "g", "attn")]
    return self.attention(x, names, (f"{key}.sigma", (1,)))


class StudioganDeep(BigganPytorchDeep):
    """32 px, ch 4, depth 2: big_resnet_deep_legacy."""

    convs, first, last, out, head = "conv2d{}", "linear0", "bn4", "conv2d5", "linear1"
    proxy, attends_inside, older = "embedding", False, False
    norm, nonlocal_block = _studiogan_norm, _studiogan_attention

    def __init__(self, **options):
        super().__init__(**options)
        self.style = "moving"


class Studiogan(BigganPytorch):
    """32 px, ch 4, attention at 16 px: resnet (SAGAN), or big_resnet (BigGAN)."""

    norm, nonlocal_block = _studiogan_norm, _studiogan_attention

    def __init__(self, *, older=False, style="moving", **options):
        super().__init__(**options)
        self.style, self.older = style, older

    def gen(self, z, label):
        chunks, y = [z] * 4, label
        if self.shared:
            y = self.embed("shared", label, CLASSES, 5, norm=False)
            chunks = z.chunk(4, 1)
        x = self.linear(chunks[0], "linear0", 16 * 16).view(len(z), 16, 4, 4)
        for n, key in enumerate(("blocks.0.0", "blocks.1.0", "blocks.3.0")):
            condition = self.t.cat([y, chunks[n + 1]], 1) if self.shared else y
            h = self.f.relu(self.norm(x, f"{key}.bn1", condition))
            h = self.conv(self.up(h), f"{key}.conv2d1", 16)
            h = self.f.relu(self.norm(h, f"{key}.bn2", condition))
            h = self.conv(h, f"{key}.conv2d2", 16)
            x = h + self.conv(self.up(x), f"{key}.conv2d0", 16, 1)
            if n == 1:
                x = self.nonlocal_block(x, "blocks.2.0")
        x = self.f.relu(self.norm(x, "bn4", None))
        return self.t.tanh(self.conv(x, "conv2d5", 3))

    def disc(self, x, label):
        for n, key in enumerate(("blocks.0.0", "blocks.2.0", "blocks.3.0", "blocks.4.0")):
            h = x = self.f.relu(x) if n else x  # the ReLU overwrites x
            h = self.conv(self.f.relu(self.conv(h, f"{key}.conv2d1", 8)), f"{key}.conv2d2", 8)
            if n < 2:
                h, x = self.pool(h), self.conv(self.pool(x), f"{key}.conv2d0", 8, 1)
            x = h + x
            if n == 0:
                x = self.nonlocal_block(x, "blocks.1.0")
        return self.judge(x, label, "linear1", "embedding")
