"""Losses of the conditionings against PyTorch and NumPy; the global batch on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sagan.models.layers.head import Head, Judged
from sagan.parallel.devices import AXIS
from sagan.tasks.gan.conditionings import CONDITIONINGS, contrastive, d2d_ce

LABELS = np.array([0, 1, 0, 2, 1, 0, 2, 0], np.int32)


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def unit(seed, shape):
    x = normal(seed, *shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


EMBEDDING, TABLE = unit(0, (8, 5)), unit(1, (3, 5))


def on_devices(loss, count, temperature=0.7):
    """The loss of each device's images, averaged, and its gradient by the embeddings."""

    def whole(embedding):
        judged = Judged(jnp.zeros(8), embedding=embedding, proxy=TABLE[LABELS])
        parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), (judged, LABELS))
        each = jax.vmap(lambda j, y: loss(j, y, temperature), axis_name=AXIS)(*parts)
        return each.mean()

    return jax.jit(jax.value_and_grad(whole))(EMBEDDING)


def contrastive_in_torch(torch, e, proxies, labels, t):
    total = 0.0
    for i in range(len(e)):
        own = torch.exp(e[i] @ proxies[labels[i]] / t)
        near = [torch.exp(e[i] @ e[j] / t) for j in range(len(e))]
        same = sum(n for j, n in enumerate(near) if j != i and labels[j] == labels[i])
        everything = sum(n for j, n in enumerate(near) if j != i)
        total = total - torch.log((own + same) / (own + everything))
    return total / len(e)


def d2d_ce_in_torch(torch, e, proxies, labels, t):
    total = 0.0
    for i in range(len(e)):
        positive = torch.exp((e[i] @ proxies[labels[i]] - 0.98).clamp(max=0) / t)
        negative = sum(
            torch.exp((e[i] @ e[j] - 0.02).clamp(min=0) / t)
            for j in range(len(e))
            if labels[j] != labels[i]
        )
        total = total - torch.log(positive / (positive + negative))
    return total / len(e)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [(contrastive, contrastive_in_torch), (d2d_ce, d2d_ce_in_torch)],
    ids=["contrastive", "d2d_ce"],
)
def test_losses_over_the_global_batch_agree_with_torch_on_1_and_4_devices(loss, expected):
    torch = pytest.importorskip("torch")
    e = torch.tensor(np.asarray(EMBEDDING), requires_grad=True)
    value = expected(torch, e, torch.tensor(np.asarray(TABLE)), LABELS.tolist(), 0.7)
    value.backward()
    for count in (1, 4):
        found, gradient = on_devices(loss, count)
        assert float(found) == pytest.approx(float(value.detach()), rel=1e-5)
        np.testing.assert_allclose(gradient, e.grad, atol=1e-6)


def test_losses_of_classifiers_agree_with_torch():
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    logits, twin, fake, fake_twin = normal(2, 4, 8, 3)
    y, fake_y = LABELS, LABELS[::-1].copy()
    ce = functional.cross_entropy
    t_logits, t_fake, t_twin = (torch.tensor(np.asarray(x)) for x in (logits, fake, fake_twin))
    t_y, t_fake_y = (torch.tensor(np.asarray(x)).long() for x in (y, fake_y))
    mh = functional.multi_margin_loss  # the sum over wrong classes, so of two classes the maximum
    expected = {
        "ac": (ce(t_logits, t_y), ce(t_fake, t_fake_y)),
        "tac": (
            ce(t_logits, t_y) + ce(t_twin, t_fake_y),
            ce(t_fake, t_fake_y) - ce(t_twin, t_fake_y),
        ),
    }
    two = np.zeros(8, np.int32)  # one class and "generated"
    t_two = torch.tensor(two).long()
    two_classes = 2 * (mh(t_logits[:, :2], t_two) + mh(t_fake[:, :2], t_two + 1))

    @jax.jit
    def ours(logits, twin, fake, fake_twin, y, fake_y):
        none = jnp.zeros(8)
        real, fakes = (
            Judged(none, classes=logits, twin=twin),
            Judged(none, classes=fake, twin=fake_twin),
        )
        found = {}
        for name in expected:
            row = CONDITIONINGS[name]
            found[name] = (
                row.discriminator(real, y, fakes, fake_y, 1.0),
                row.generator(fakes, fake_y, 1.0),
            )
        row, some = CONDITIONINGS["multi_hinge"], jnp.asarray(two)
        judged = [Judged(none, classes=x[:, :2]) for x in (logits, fake)]
        d = row.discriminator(judged[0], some, judged[1], some, 1.0)
        return found, (d, row.generator(fakes, fake_y, 1.0))

    found, (hinge_d, hinge_g) = ours(logits, twin, fake, fake_twin, y, fake_y)
    for name, (d, g) in expected.items():
        assert float(found[name][0]) == pytest.approx(float(d), rel=1e-5)
        assert float(found[name][1]) == pytest.approx(float(g), rel=1e-5)
    assert float(hinge_d) == pytest.approx(float(two_classes), rel=1e-5)
    wrong = np.asarray(fake)[
        np.arange(8)[:, None], [[c for c in range(3) if c != k] for k in fake_y]
    ]
    own = np.asarray(fake)[np.arange(8), fake_y]
    value = np.maximum(0, 1 + wrong.max(1) - own).mean()
    assert float(hinge_g) == pytest.approx(value, rel=1e-5)


def test_a_sliced_head_parts_direction_from_length():
    """SAN: the logits move features and length, `direction` moves the direction alone."""
    head = Head(3, sliced=True)

    @jax.jit
    def run(h, labels):
        one = labels[:1]
        params = head.init(jax.random.key(4), h, labels, train=True)["params"]
        w = params["vector"].T + params["class_vectors"].T[labels]

        def output(h, field):
            return getattr(head.apply({"params": params}, h, labels, train=True), field).sum()

        def of_one(vector, field):
            changed = {**params, "vector": vector}
            return getattr(head.apply({"params": changed}, h[:1], one, train=True), field).sum()

        plain = head.apply({"params": params}, h, labels, train=False)
        judged = head.apply({"params": params}, h, labels, train=True)
        by_h = {field: jax.grad(output)(h, field) for field in ("logits", "direction")}
        by_vector = {
            field: jax.grad(of_one)(params["vector"], field)[:, 0]
            for field in ("logits", "direction")
        }
        return w, plain, judged, by_h, by_vector

    h = normal(3, 8, 5)
    w, plain, judged, by_h, by_vector = jax.device_get(run(h, LABELS))
    np.testing.assert_allclose(plain, (w * h).sum(1), rtol=1e-4)
    np.testing.assert_allclose(judged.logits, judged.direction, rtol=1e-4)
    np.testing.assert_allclose(by_h["logits"], w, rtol=1e-4, atol=1e-6)
    assert not np.any(by_h["direction"])
    across, along = by_vector["direction"], by_vector["logits"]
    assert abs(float(across @ w[0])) < 1e-5 and np.linalg.norm(across) > 0.1
    np.testing.assert_allclose(along, w[0] * (along @ w[0]) / (w[0] @ w[0]), atol=1e-5)


@pytest.mark.parametrize("kind", CONDITIONINGS)
def test_each_head_returns_what_its_loss_reads(kind):
    head = Head(3, kind, embed_dim=4)
    output, _ = jax.eval_shape(
        lambda h, labels: head.init_with_output(jax.random.key(0), h, labels, train=True),
        np.ones((8, 5), np.float32),
        LABELS,
    )
    row = CONDITIONINGS[kind]
    if row is None:
        assert output.shape == (8,)
        return
    found = {name for name, x in output._asdict().items() if x is not None}
    assert found == {"logits", *row.reads} and output.logits.shape == (8,)
