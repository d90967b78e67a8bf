"""The FID Inception network, compared with torch-fidelity's and pytorch-fid's."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from sagan.config import ConfigError
from sagan.evaluation.features import inception
from sagan.evaluation.features.fid_inception.network import OUTPUTS, layers_of

ALL = tuple(OUTPUTS)


def relative(got, wanted):
    """Largest difference, relative to the largest value; and the same between norms."""
    largest = np.abs(got - wanted).max() / np.abs(wanted).max()
    return max(largest, np.linalg.norm(got - wanted) / np.linalg.norm(wanted))


@pytest.fixture(scope="module")
def extractor(weight_files):
    return inception.load(weights=weight_files["pth"])


@pytest.fixture(scope="module")
def features(extractor, images):
    return extractor(images, ALL)


def fidelity_features(torch, path, images):
    """All outputs of torch-fidelity's network; sFID's by a hook, in rows of 17 x 17 x 7."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    names = {"pool_768": "768", "pool": "2048", "logits_unbiased": "logits_unbiased"}
    names["logits"] = "logits"
    network = module.FeatureExtractorInceptionV3(
        "oracle", list(names.values()), feature_extractor_weights_path=str(path)
    )
    found = {name: [] for name in ALL}

    def keep(_module, _inputs, output):
        found["spatial"].append(output[:, :7].permute(0, 2, 3, 1).flatten(1).numpy())

    network.Mixed_6d.branch1x1.register_forward_hook(keep)
    with torch.no_grad():
        for start in range(0, len(images), 32):
            part = torch.from_numpy(images[start : start + 32]).permute(0, 3, 1, 2)
            for name, value in zip(names, network(part), strict=True):
                found[name].append(value.numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def pytorch_fid_features(torch, pytorch_fid, state_dict, images):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: state_dict)
        network = pytorch_fid.InceptionV3([2, 3]).eval()
    found = {"pool_768": [], "pool": []}
    with torch.no_grad():
        for start in range(0, len(images), 32):
            part = torch.from_numpy(images[start : start + 32]).permute(0, 3, 1, 2)
            middle, last = network(part.float() / 255)
            found["pool_768"].append(middle.mean((2, 3)).numpy())
            found["pool"].append(last[:, :, 0, 0].numpy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


@pytest.fixture(scope="module")
def fidelity(torch, torchvision, weight_files, images):
    return fidelity_features(torch, weight_files["pth"], images)


@pytest.mark.parametrize("output", ALL)
def test_equals_torch_fidelity(features, fidelity, output):
    assert features[output].dtype == np.float32
    assert features[output].shape == (len(features[output]), OUTPUTS[output])
    assert relative(features[output], fidelity[output]) < 1e-4


def test_random_features_are_alive(fidelity):
    for name, value in fidelity.items():
        assert value.std(0).mean() > 0.02 * np.abs(value).mean(), name  # images differ
        assert np.median((value == 0).mean(0)) < 0.9, name


def test_equals_pytorch_fid_with_its_resizer(
    torch, pytorch_fid, state_dict, weight_files, images, features
):
    wanted = pytorch_fid_features(torch, pytorch_fid, state_dict, images)
    got = inception.load(weights=weight_files["pth"], resizer="torch")(images, ALL)
    for name, value in wanted.items():
        assert relative(got[name], value) < 1e-4
        assert relative(features[name], value) > 1e-3  # the resizer is no detail


def test_every_kind_of_file_gives_the_same_weights(weight_files, extractor):
    prints = [inception.load(weights=path).fingerprint for path in weight_files.values()]
    assert prints == [extractor.fingerprint] * len(weight_files)
    assert extractor.fingerprint["resizer"] == "tf"
    assert len(extractor.fingerprint["weights_sha256"]) == 64


def test_any_batch_any_order_one_compilation(extractor, images, features):
    compiled = []

    def count(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(duration)

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        for chosen in ([3], [5, 0, 7]):
            got = extractor(images[chosen], ALL)
            for name in ALL:
                assert relative(got[name], features[name][chosen]) < 1e-5
        assert not compiled
        extractor(images[:, :16], ["spatial"])  # another size is another program
        assert compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(count)


def test_more_images_than_fit_are_worked_through_in_parts(weight_files, images, features):
    small = inception.load(weights=weight_files["pth"], batch_size=3)
    got = small(images, ["spatial"])  # 3 + 3 + 2, or what divides among the devices
    assert set(got) == {"spatial"}
    assert relative(got["spatial"], features["spatial"]) < 1e-5


def test_four_devices_equal_one(weight_files, images, tmp_path):
    np.save(tmp_path / "images.npy", images[:4])
    program = (
        "import sys, jax, numpy as np; from sagan.evaluation.features import inception\n"
        "images, all_devices = np.load(sys.argv[2] + '/images.npy'), jax.local_devices()\n"
        "for devices in (all_devices, all_devices[:1]):\n"
        "    jax.local_devices = lambda: devices\n"
        "    extractor = inception.load(weights=sys.argv[1])\n"
        "    found = extractor(images, ['spatial'])['spatial']\n"
        "    np.save(f'{sys.argv[2]}/{len(devices)}.npy', found)\n"
    )
    flags = "--xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", program, str(weight_files["pth"]), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=300)
    assert relative(np.load(tmp_path / "4.npy"), np.load(tmp_path / "1.npy")) < 1e-6


def test_network_has_the_counted_parameters():
    layers = dict(layers_of(ALL))
    head = layers.pop("softmax")
    kernels = sum(parts["kernel"].size for parts in layers.values())
    channels = sum(parts["bias"].size for parts in layers.values())
    assert (len(layers), kernels, channels) == (94, 21_751_136, 17_216)
    total = kernels + 2 * channels + head["kernel"].size + head["bias"].size
    assert total == 23_850_960


def test_no_layer_behind_the_last_output_is_built():
    assert not [name for name in layers_of(("pool_768",)) if name.startswith("mixed_8")]
    spatial = layers_of(("spatial",))
    assert [name for name in spatial if name.startswith(("mixed_6", "mixed_7"))] == ["mixed_6_conv"]


def test_partial_weights_give_what_they_reach(torch, partial_weights, cifar_images):
    extractor = inception.load(weights=partial_weights)
    assert dict(extractor.widths) == {"spatial": 2023, "pool_768": 768}
    assert set(extractor.missing) == {"pool", "logits", "logits_unbiased"}
    with pytest.raises(ConfigError, match="'pool'.* 24 layers"):
        extractor(cifar_images[:1], ["pool"])
    got = extractor(cifar_images, ["pool_768", "spatial"])
    wanted = torch_forward(torch, dict(np.load(partial_weights)), cifar_images)
    for name, value in wanted.items():
        assert np.isfinite(got[name]).all() and got[name].std(0).mean() > 1e-3
        assert relative(got[name], value) < 1e-4


def torch_forward(torch, arrays, images):
    """The network up to mixed_7, written once more from its description, in PyTorch."""
    F = torch.nn.functional

    def conv(x, name, stride=1, padding=None):
        kernel = torch.from_numpy(arrays[f"{name}/kernel"]).permute(3, 2, 0, 1)
        if padding is None:
            padding = (kernel.shape[2] // 2, kernel.shape[3] // 2)
        bias = torch.from_numpy(arrays[f"{name}/bias"])
        return F.relu(F.conv2d(x, kernel, bias, stride, padding))

    def chain(x, *names):
        for name in names:
            x = conv(x, name)
        return x

    def block(x, name, lengths):
        towers = [conv(x, f"{name}_conv")]
        for tower, length in zip(("tower", "tower_1"), lengths, strict=True):
            layers = ["conv", *(f"conv_{i}" for i in range(1, length))]
            towers.append(chain(x, *(f"{name}_{tower}_{layer}" for layer in layers)))
        pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        return torch.cat([*towers, conv(pooled, f"{name}_tower_2_conv")], 1)

    size = images.shape[1]
    position = torch.arange(299) * (size / 299)
    low = position.long()
    high, part = (low + 1).clamp(max=size - 1), position - low
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    x = x[..., low] * (1 - part) + x[..., high] * part
    x = x[..., low, :] * (1 - part)[:, None] + x[..., high, :] * part[:, None]
    x = (x - 128) / 128
    x = conv(conv(x, "conv", 2, 0), "conv_1", 1, 0)
    x = F.max_pool2d(conv(x, "conv_2"), 3, 2)
    x = F.max_pool2d(conv(conv(x, "conv_3"), "conv_4", 1, 0), 3, 2)
    for name in ("mixed", "mixed_1", "mixed_2"):
        x = block(x, name, (2, 3))
    double = conv(
        chain(x, "mixed_3_tower_conv", "mixed_3_tower_conv_1"), "mixed_3_tower_conv_2", 2, 0
    )
    x = torch.cat([conv(x, "mixed_3_conv", 2, 0), double, F.max_pool2d(x, 3, 2)], 1)
    for name in ("mixed_4", "mixed_5", "mixed_6", "mixed_7"):
        x = block(x, name, (3, 5))
        if name == "mixed_6":
            spatial = x[:, :7].permute(0, 2, 3, 1).flatten(1)
    return {"pool_768": x.mean((2, 3)).numpy(), "spatial": spatial.numpy()}


def test_calls_that_cannot_be_answered(extractor, images):
    with pytest.raises(ValueError, match="'pool_3'.*spatial, pool_768"):
        extractor(images, ["pool_3"])
    for wrong in (images[..., :1], images[0], images[..., 0], images / 255.0, images[:0]):
        with pytest.raises(ValueError, match=r"uint8 \(B, H, W, 3\)"):
            extractor(wrong, ["spatial"])


def test_unknown_resizer(weight_files):
    with pytest.raises(ConfigError, match="'cubic'.*tf, torch, clean"):
        inception.load(weights=weight_files["pth"], resizer="cubic")
