"""Networks of other projects, randomly filled, give the same images and logits when imported."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict
from support import peers, pretrained_peer

from sagan.config import plugins
from sagan.models.layers import spectral
from sagan.tasks.gan import imports, inference

LABEL = np.array([0, 2, 1, 2])


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def saved(torch, folder, name, tree, **options):
    torch.save(tree, folder / name, **options)
    return folder / name


def tree_of(arrays):
    return unflatten_dict(arrays, sep="/")


def images_of(found, z, truncation=None):
    variables = {
        "params": tree_of(found.average.normalized()),
        "batch_stats": tree_of(found.average.statistics),
    }
    if truncation is not None:
        variables = inference.at_truncation(found.config.model, variables, truncation)
    return np.asarray(drawing(found.config.model)(variables, z, LABEL[: len(z)]))


@functools.cache
def drawing(model):
    """Returns a compiled function of variables, latents and labels that draws images."""
    network = inference.generator(model)
    return jax.jit(lambda v, z, label: network.apply(v, z, label, train=False))


def logits_of(found, x):
    """The logits of a forward pass in training, as one goes on from the imported state."""
    family = plugins.load("models", found.config.model.name, field="model.name")
    network = family.build(found.config.model).discriminator
    params, u = tree_of(found.discriminator.params), found.discriminator.u

    @jax.jit
    def judge(params, u, x):
        weights = spectral.normalize(params, spectral.iterate(params, u))
        return network.apply({"params": weights}, x, jnp.asarray(LABEL), train=False)

    return np.asarray(judge(params, u, x))


def compare(torch, found, generator, discriminator=None):
    z = torch.randn(4, found.config.model.z_dim, generator=torch.Generator().manual_seed(1))
    label = torch.tensor(LABEL)
    with torch.no_grad():
        expected = generator.gen(z, label).permute(0, 2, 3, 1).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(images_of(found, z.numpy()), expected, atol=2e-5)
    if discriminator is not None:
        x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1
        with torch.no_grad():
            expected = discriminator.disc(x, label).numpy()
        assert np.ptp(expected) > 1e-3 * np.abs(expected).max()
        atol = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(
            logits_of(found, x.permute(0, 2, 3, 1).numpy()), expected, atol=atol
        )


def made(torch, kind, z_dim, **options):
    """A generator and a discriminator whose weights exist, since they have run once."""
    pair = [kind(seed=seed, **options) for seed in (0, 1)]
    label = torch.tensor(LABEL)
    pair[0].gen(torch.zeros(4, z_dim), label)
    pair[1].disc(torch.zeros(4, 3, 32, 32), label)
    return pair


@pytest.mark.parametrize(
    ("kind", "z_dim", "options"),
    [
        (peers.BigganPytorch, 8, {}),
        (peers.BigganPytorch, 6, {"shared": False, "norms": "mybn"}),
        (peers.BigganPytorchDeep, 6, {"norms": "cross"}),
    ],
    ids=["biggan", "sagan", "deep"],
)
def test_biggan_pytorch(torch, tmp_path, kind, z_dim, options):
    g, d = made(torch, kind, z_dim, **options)
    older = {"_use_new_zipfile_serialization": False}
    files = [
        saved(torch, tmp_path, "G_ema.pth", g.state, **older),
        saved(torch, tmp_path, "D.pth", d.state),
    ]
    config = {"config": {"activation": torch.nn.ReLU()}, "itr": 12, "best_FID": np.float64(3.5)}
    saved(torch, tmp_path, "state_dict.pth", config)
    found = imports.read("biggan_pytorch", files)
    assert found.step == 12
    compare(torch, found, g, d)


@pytest.mark.parametrize(
    ("kind", "z_dim", "options"),
    [
        (peers.Studiogan, 6, {"shared": False}),
        (peers.Studiogan, 6, {"shared": False, "older": True}),
        (peers.Studiogan, 8, {}),
        (peers.StudioganDeep, 6, {}),
    ],
    ids=["sagan", "older", "biggan", "deep"],
)
def test_studiogan(torch, tmp_path, kind, z_dim, options):
    g, d = made(torch, kind, z_dim, **options)
    name = "model={}-best-weights-step=40.pth"
    about = {"seed": 1, "run_name": "x", "best_fid": np.float32(3.5), "step": 40}
    files = [
        saved(torch, tmp_path, name.format(n), {"state_dict": p.state, "optimizer": None} | about)
        for n, p in (("G", g), ("D", d))
    ]
    found = imports.read("studiogan", files)
    assert found.step == 40
    compare(torch, found, g, d)


def test_pretrained_biggan(torch, tmp_path):
    g = pretrained_peer.PretrainedBiggan()
    z, label = torch.randn(2, 6), torch.tensor(LABEL[:2])
    with torch.no_grad():
        g.gen(z, label, 1.0)
        file = saved(torch, tmp_path, "pytorch_model.bin", g.state)
        (tmp_path / "config.json").write_text('{"eps": 1e-4, "z_dim": 6}')
        found = imports.read("pretrained_biggan", [file])
        for truncation in (1.0, 0.43):
            expected = g.gen(z, label, truncation).permute(0, 2, 3, 1).numpy()
            assert expected.std() > 0.05
            images = images_of(found, z.numpy(), truncation)
            np.testing.assert_allclose(images, expected, atol=2e-5)
