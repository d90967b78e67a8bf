"""Random weights in every kind of file, and the libraries that read them independently."""

import tarfile

import numpy as np
import pytest
from support import peer_cases
from support.inception_names import graph_name

GRAPH_NAME = "classify_image_graph_def.pb"


@pytest.fixture(scope="session")
def torch():
    return pytest.importorskip("torch", reason="the reference networks are PyTorch's")


@pytest.fixture(scope="session")
def torchvision(torch):
    """torchvision, also where its compiled operators do not load."""
    from support.peer_features import declare_operators

    library = declare_operators()
    yield pytest.importorskip("torchvision", reason="the reference networks need it")
    del library


@pytest.fixture(scope="session")
def pytorch_fid(torchvision):
    return pytest.importorskip("pytorch_fid.inception", reason="a reference network")


@pytest.fixture(scope="session")
def images():
    """8 images of 32 px whose brightness, contrast, colours and scales differ."""
    return peer_cases.images(8, 32, 32)


@pytest.fixture(scope="session")
def state_dict(torch, pytorch_fid, images):
    """Random weights of the whole network as pytorch-fid names them.

    Kernels are He's; batch norm's statistics are the network's own on `images`, so that
    activations neither die nor grow, and gamma and beta are no ones and zeros.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(torch.nn.Module, "load_state_dict", lambda *_, **__: None)
        network = pytorch_fid.fid_inception_v3()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if ".bn." in name:
                value.uniform_(0.6, 1.4, generator=generator)
                if name.endswith("bias"):
                    value.sub_(1.0)
            else:
                spread = (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1
                value.normal_(0, spread, generator=generator)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        network.train()
        x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        network.dropout.p = 0.0
        network(torch.nn.functional.interpolate(x, (299, 299), mode="bilinear"))
    return network.state_dict()


@pytest.fixture(scope="session")
def weight_files(torch, state_dict, tmp_path_factory):
    """The same weights in every kind of file: `pth`, `legacy`, `pb`, `tgz`."""
    folder = tmp_path_factory.mktemp("weights")
    files = {kind: folder / f"random.{kind}" for kind in ("pth", "legacy", "pb", "tgz")}
    torch.save(state_dict, files["pth"])
    torch.save(state_dict, files["legacy"], _use_new_zipfile_serialization=False)
    files["pb"].write_bytes(frozen_graph(state_dict))
    with tarfile.open(files["tgz"], "w:gz", compresslevel=1) as archive:
        archive.add(files["pb"], GRAPH_NAME)
    return files


def frozen_graph(state_dict):
    """Writes the weights as TensorFlow's constants, with the graph's names and layouts."""
    from tensorboard.compat.proto.graph_pb2 import GraphDef

    graph = GraphDef()

    def constant(name, array):
        node = graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = 1
        tensor = node.attr["value"].tensor
        tensor.dtype = 1
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.tensor_content = np.ascontiguousarray(array, "<f4").tobytes()

    for name, value in state_dict.items():
        array = value.numpy()
        if name.endswith(".conv.weight"):
            layer = graph_name(name.removesuffix(".conv.weight"))
            constant(f"{layer}/conv2d_params", array.transpose(2, 3, 1, 0))
            norm = graph.node.add(name=f"{layer}/batchnorm", op="BatchNormWithGlobalNormalization")
            norm.attr["variance_epsilon"].f = 0.001
            norm.attr["scale_after_normalization"].b = True
        elif ".bn." in name and array.ndim:
            layer, part = name.split(".bn.")
            parts = {"weight": "gamma", "bias": "beta"}
            parts |= {"running_mean": "moving_mean", "running_var": "moving_variance"}
            constant(f"{graph_name(layer)}/batchnorm/{parts[part]}", array)
    constant("softmax/weights", state_dict["fc.weight"].numpy().T)
    constant("softmax/biases", state_dict["fc.bias"].numpy())
    return graph.SerializeToString()


@pytest.fixture
def partial_weights(test_data):
    return test_data / "inception_2015_12_05_to_mixed_7.npz"


@pytest.fixture
def cifar_images(test_data):
    """The first 4 images of CIFAR-10's test split, in the order of its files."""
    import tensorflow_datasets as tfds

    builder = tfds.builder("cifar10", data_dir=str(test_data / "tfds"), file_format="array_record")
    source = builder.as_data_source(split="test")
    return np.stack([source[i]["image"] for i in range(4)])
