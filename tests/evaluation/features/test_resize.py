"""Resizing, compared with hand-worked values, PyTorch's interpolate and torch-fidelity's."""

import jax.numpy as jnp
import numpy as np
import pytest

from sagan.evaluation.features.fid_inception import resize


@pytest.mark.parametrize(
    ("resizer", "wanted"),
    [
        ("tf", [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]),
        ("torch", [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]),
    ],
)
def test_four_points_to_eight(resizer, wanted):
    matrix = resize.bilinear_matrix(4, 8, resizer)
    np.testing.assert_array_equal(matrix @ np.arange(4, dtype=np.float32), wanted)


SIZES = [(32, 32), (48, 20), (299, 299), (512, 400)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tf_equals_torch_fidelity(torch, torchvision, height, width):
    module = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    images = noise(2, height, width)
    wanted = module.interpolate_bilinear_2d_like_tensorflow1x(
        torch.from_numpy(images).permute(0, 3, 1, 2).float(), size=(299, 299), align_corners=False
    )
    got = resize.bilinear(jnp.asarray(images), 299, "tf")
    np.testing.assert_allclose(got, wanted.permute(0, 2, 3, 1), atol=2e-4)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_torch_equals_interpolate(torch, height, width):
    images = noise(2, height, width)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(images).permute(0, 3, 1, 2).float(),
        (299, 299),
        mode="bilinear",
        align_corners=False,
    )
    got = resize.bilinear(jnp.asarray(images), 299, "torch")
    np.testing.assert_allclose(got, wanted.permute(0, 2, 3, 1), atol=2e-3)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_clean_equals_antialiased_bicubic(torch, height, width):
    images = noise(2, height, width)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(images).permute(0, 3, 1, 2).float(),
        (299, 299),
        mode="bicubic",
        align_corners=False,
        antialias=True,
    )
    got = resize.clean(images, 299)
    np.testing.assert_allclose(got, wanted.clamp(0, 255).permute(0, 2, 3, 1), atol=1e-2)


@pytest.mark.parametrize(
    ("resizer", "black", "white"),
    [("tf", -1.0, 127 / 128), ("clean", -1.0, 127 / 128), ("torch", -1.0, 1.0)],
)
def test_range(resizer, black, white):
    ends = jnp.array([0.0, 255.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(resize.normalise(ends, resizer).ravel(), [black, white], atol=1e-7)


def noise(number, height, width):
    return np.random.default_rng(0).integers(0, 256, (number, height, width, 3), np.uint8)
