"""The authors' BigGAN-deep as pytorch-pretrained-BigGAN has it, restated in torch."""

import math

from support.peers import CLASSES, Peer


class PretrainedBiggan(Peer):
    """128 px, ch 8: the authors' BigGAN-deep. Latents and class vector have 6 values."""

    WIDTHS = ((16, 16, 0), (16, 16, 1), (16, 16, 0), (16, 8, 1), (8, 8, 0), (8, 4, 1), (4, 4, 0),
              (4, 2, 1), (2, 2, 0), (2, 1, 1))  # fmt: skip
    ch = 8

    def __init__(self, sets=51, **options):
        super().__init__("fixed", **options)
        self.sets = sets

    def norm(self, x, key, condition, truncation):
        c = x.shape[1]
        means = self.get(f"{key}.running_means", (self.sets, c))
        variances = self.positive(f"{key}.running_vars", (self.sets, c))
        part, row = math.modf(truncation / (1.0 / (self.sets - 1)))
        row = int(row)
        if part:
            mean, var = (s[row] * part + s[row + 1] * (1 - part) for s in (means, variances))
        else:
            mean, var = means[row], variances[row]
        if condition is None:
            gain, bias = self.get(f"{key}.weight", (c,), mean=1.0), self.get(f"{key}.bias", (c,))
        else:
            gain = 1 + self.linear(condition, f"{key}.scale", c, False)
            bias = self.linear(condition, f"{key}.offset", c, False)
        return self.batch_norm(x, mean, var, gain, bias, 1e-4)

    def gen(self, z, label, truncation):
        one_hot = self.f.one_hot(label, CLASSES).float()
        embedded = one_hot @ self.get("embeddings.weight", (6, CLASSES)).T
        condition = self.t.cat([z, embedded], 1)
        x = self.linear(condition, "generator.gen_z", 16 * 16 * self.ch)
        x = x.view(len(z), 4, 4, 16 * self.ch).permute(0, 3, 1, 2)
        number = 0
        for before, after, up in self.WIDTHS:
            if number == 8:
                key = "generator.layers.8"
                names = [f"{key}.snconv1x1_{n}" for n in ("theta", "phi", "g", "o_conv")]
                x = self.attention(x, names, (f"{key}.gamma", (1,)))
                number += 1
            key = f"generator.layers.{number}"
            number += 1
            h = x
            for k in range(4):
                h = self.f.relu(self.norm(h, f"{key}.bn_{k}", condition, truncation))
                h = self.up(h) if up and k == 1 else h
                width = after * self.ch if k == 3 else before * self.ch // 4
                h = self.conv(h, f"{key}.conv_{k}", width, 3 if k in (1, 2) else 1)
            x = x[:, : len(x[0]) // 2] if before != after else x
            x = h + (self.up(x) if up else x)
        x = self.f.relu(self.norm(x, "generator.bn", None, truncation))
        return self.t.tanh(self.conv(x, "generator.conv_to_rgb", self.ch)[:, :3])
