"""The residual network for CIFAR-10, compared with torch, and on real images."""

import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.evaluation import ScoreSpec, image_files, reference
from sagan.evaluation.features import cifar_resnet


def _random(blocks, classes=10):
    """Arrays as PyTorch would save them."""
    rng = np.random.default_rng(0)
    arrays = {}
    widths = [16] + [w for w in (16, 32, 64) for _ in range(2 * blocks)]
    inside = [
        f"layer{stage}.{block}.{{}}{i}"
        for stage in (1, 2, 3)
        for block in range(blocks)
        for i in (1, 2)
    ]
    for name, inputs, outputs in zip(["{}1", *inside], [3, *widths[:-1]], widths, strict=True):
        convolution, norm = name.format("conv"), name.format("bn")
        arrays[f"{convolution}.weight"] = rng.normal(0, 0.1, (outputs, inputs, 3, 3))
        for name in ("weight", "bias", "running_mean"):
            arrays[f"{norm}.{name}"] = rng.normal(0.5, 0.2, outputs)
        arrays[f"{norm}.running_var"] = rng.uniform(0.5, 2, outputs)
    arrays |= {"linear.weight": rng.normal(size=(classes, 64)), "linear.bias": rng.normal(size=10)}
    return {name: x.astype(np.float32) for name, x in arrays.items()}


def _by_torch(arrays, blocks, images):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    t = {name: torch.tensor(x) for name, x in arrays.items()}

    def layer(x, convolution, norm, stride=1):
        x = functional.conv2d(x, t[f"{convolution}.weight"], stride=stride, padding=1)
        names = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(x, *(t[f"{norm}.{n}"] for n in names))

    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = ((torch.tensor(images) / 255 - mean) / deviation).permute(0, 3, 1, 2)
    x = layer(x, "conv1", "bn1").relu()
    for stage in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            y = layer(x, f"{name}.conv1", f"{name}.bn1", stride).relu()
            y = layer(y, f"{name}.conv2", f"{name}.bn2")
            if stride == 2:
                side = x.shape[1] // 2
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, side, side))
            x = (x + y).relu()
    pool = x.mean((2, 3))
    return pool.numpy(), (pool @ t["linear.weight"].T + t["linear.bias"]).numpy()


def test_agrees_with_torch(tmp_path):
    arrays = _random(2)
    np.savez(tmp_path / "weights.npz", **arrays)
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    extractor = cifar_resnet.load(weights=tmp_path / "weights.npz")
    found = extractor(images, ("classifier_pool", "classifier_logits"))
    pool, logits = _by_torch(arrays, 2, images)
    np.testing.assert_allclose(found["classifier_pool"], pool, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["classifier_logits"], logits, rtol=1e-4, atol=1e-3)
    assert dict(extractor.widths) == {"classifier_pool": 64, "classifier_logits": 10}
    with pytest.raises(ConfigError, match="32 px.*16"):
        extractor(images[:, :16, :16], ("classifier_pool",))


def test_files_that_are_no_such_network(tmp_path):
    path = tmp_path / "weights.npz"
    with pytest.raises(ConfigError, match="--weights"):
        cifar_resnet.load()
    with pytest.raises(ConfigError, match="weights.npz"):
        cifar_resnet.load(weights=path)
    arrays = _random(1)
    del arrays["layer3.0.bn2.bias"]
    np.savez(path, **arrays)
    with pytest.raises(ConfigError, match=r"layer3.0.bn2.bias"):
        cifar_resnet.load(weights=path)
    with pytest.raises(ConfigError, match="--resizer"):
        cifar_resnet.load(weights=path, resizer="clean")


def test_a_published_network_recognises_the_test_images(test_data):
    """Its authors state an error of 6.4 %; wrong channels, order or labels would be far off."""
    overrides = [f"data.dir={test_data / 'tfds'}"]
    spec = ScoreSpec(
        metrics=("class_accuracy", "classifier_score"),
        reference="cifar10:test",
        num_real=512,
        features="cifar_resnet",
        weights=test_data / "resnet56_cifar10.npz",
    )
    images = reference.open_images("cifar10:test", overrides=overrides).part(512)
    found = image_files.score_images(images, spec, overrides=overrides)
    assert found["metrics"]["class_accuracy512"] == pytest.approx(1 - 0.064, abs=0.03)
    assert 8 < found["metrics"]["classifier_score512"] < 10
    assert found["protocol"]["features"] == "cifar_resnet"
