"""Stores what torch-fidelity, pytorch-fid and prdc compute, for tests that run without them.

    python tests/tools/make_peer_goldens.py           # needs the three, torch and torchvision
    python tests/tools/make_peer_goldens.py --check   # needs nothing; exits 1 if they are outdated

The goldens are outdated if a file has changed that computes what is compared. Then run the live
comparison, `pytest -m peers`, and if it passes, make the goldens again.
"""

import argparse
import hashlib
import importlib.metadata
import json
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
FOLDER = TESTS / "evaluation" / "goldens"
PEERS = ("torch", "torchvision", "torch-fidelity", "pytorch-fid", "prdc")
SOURCES = (
    "sagan/evaluation/fold.py",
    "sagan/evaluation/evaluator.py",
    "sagan/evaluation/features/inception.py",
    "sagan/evaluation/features/fid_inception/*.py",
    "sagan/evaluation/metrics/*.py",
    "sagan/parallel/spread.py",
    "tests/support/peer_cases.py",
    "tests/support/inception_names.py",
    "tests/tools/make_peer_goldens.py",
)
sys.path[:0] = [str(TESTS), str(TESTS.parent)]


def sources_sha256():
    digest = hashlib.sha256()
    for pattern in SOURCES:
        for path in sorted(TESTS.parent.glob(pattern)):
            digest.update(f"{path.relative_to(TESTS.parent)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def state_dict(torch, layers):
    """Returns layers under PyTorch's names, with a batch norm that only adds the bias."""
    from support.inception_names import torch_names

    found = {"fc.weight": layers["softmax"]["kernel"].T, "fc.bias": layers["softmax"]["bias"]}
    for name, ours in torch_names().items():
        kernel, bias = layers[ours]["kernel"], layers[ours]["bias"]
        found[f"{name}.conv.weight"] = kernel.transpose(3, 2, 0, 1)
        found[f"{name}.bn.weight"] = np.ones_like(bias)
        found[f"{name}.bn.bias"] = bias
        found[f"{name}.bn.running_mean"] = np.zeros_like(bias)
        found[f"{name}.bn.running_var"] = np.full_like(bias, 1 - 1e-3)  # 1 with epsilon
    return {name: torch.from_numpy(np.ascontiguousarray(x)) for name, x in found.items()}


def network_features(torch):
    """Returns sampled features: `tf/...` of torch-fidelity, `torch/...` of pytorch-fid."""
    import torch_fidelity.feature_extractor_inceptionv3 as fidelity
    from pytorch_fid import inception as pytorch_fid
    from support import peer_cases

    from sagan.evaluation.features.fid_inception.network import OUTPUTS, layers_of

    weights = state_dict(torch, peer_cases.inception_layers(layers_of(tuple(OUTPUTS))))
    x = torch.from_numpy(peer_cases.images(6, 32, 32)).permute(0, 3, 1, 2)
    outputs = {"pool_768": "768", "pool": "2048", "logits_unbiased": "logits_unbiased"}
    outputs["logits"] = "logits"
    found = {}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        torch.save(weights, f"{folder}/weights.pth")
        network = fidelity.FeatureExtractorInceptionV3(
            "peer", list(outputs.values()), feature_extractor_weights_path=f"{folder}/weights.pth"
        )
        spatial = []
        network.Mixed_6d.branch1x1.register_forward_hook(
            lambda _m, _i, out: spatial.append(out[:, :7].permute(0, 2, 3, 1))
        )
        for name, value in zip(outputs, network(x), strict=True):
            found[f"tf/{name}"] = peer_cases.sampled(value.numpy())
        found["tf/spatial"] = peer_cases.sampled(spatial[0].numpy())
        with mock.patch.object(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: weights):
            network = pytorch_fid.InceptionV3([2, 3]).eval()
        middle, last = network(x.float() / 255)
        found["torch/pool_768"] = peer_cases.sampled(middle.mean((2, 3)).numpy())
        found["torch/pool"] = peer_cases.sampled(last.numpy())
    return found


def resized(torch):
    """Returns sampled pixels of images resized to 299 px by torch-fidelity and by torch."""
    from support import peer_cases
    from torch_fidelity.interpolate_compat_tensorflow import (
        interpolate_bilinear_2d_like_tensorflow1x,
    )

    found = {}
    for height, width in peer_cases.RESIZED:
        x = torch.from_numpy(peer_cases.images(1, height, width)).permute(0, 3, 1, 2).float()
        values = {
            "tf": interpolate_bilinear_2d_like_tensorflow1x(
                x, size=(299, 299), align_corners=False
            ),
            "torch": torch.nn.functional.interpolate(x, (299, 299), mode="bilinear"),
        }
        for resizer, value in values.items():
            pixels = value.permute(0, 2, 3, 1).numpy()
            found[f"resized/{resizer}/{height}x{width}"] = peer_cases.sampled(pixels)
    return found


def scores(torch):
    """Returns scores of the same features, by torch-fidelity and prdc."""
    import prdc
    from support import peer_cases
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    fake, real = peer_cases.features("fake"), peer_cases.features("real")
    statistics = [
        metric_fid.fid_features_to_statistics(torch.from_numpy(x).double()) for x in (fake, real)
    ]
    doubles = [torch.from_numpy(x).double() for x in (fake, real)]
    options = {f"kid_{name.removeprefix('num_')}": value for name, value in peer_cases.KID.items()}
    precision = metric_prc.prc_features_to_metric(
        torch.from_numpy(fake), torch.from_numpy(real), verbose=False
    )
    density = prdc.compute_prdc(real, fake, nearest_k=5)
    found = {
        **metric_fid.fid_statistics_to_metric(*statistics, verbose=False),
        **metric_kid.kid_features_to_metric(*doubles, **options, verbose=False),
        **metric_isc.isc_features_to_metric(torch.from_numpy(peer_cases.logits())),
        "precision": precision["precision"],
        "recall": precision["recall"],
        "density": density["density"],
        "coverage": density["coverage"],
    }
    return {name: float(value) for name, value in found.items()}


def make():
    from support.peer_features import declare_operators

    library = declare_operators()
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrays, numbers = {**network_features(torch), **resized(torch)}, scores(torch)
    del library
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(FOLDER / "peers.npz", **arrays)
    about = {
        "sources_sha256": sources_sha256(),
        "versions": {name: importlib.metadata.version(name) for name in PEERS},
        "scores": numbers,
    }
    (FOLDER / "peers.json").write_text(json.dumps(about, indent=2) + "\n")
    size = (FOLDER / "peers.npz").stat().st_size
    print(f"wrote {FOLDER}: {len(arrays)} arrays in {size:,} bytes, {len(numbers)} scores")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare the sources' hash")
    if not parser.parse_args().check:
        make()
        return 0
    stored = json.loads((FOLDER / "peers.json").read_text())["sources_sha256"]
    if stored == sources_sha256():
        return 0
    print("the goldens are older than the sources: run `pytest -m peers`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
