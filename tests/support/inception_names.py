"""Names of the layers of Inception in PyTorch and in the frozen graph, apart from ours."""

_STEM = {"1a_3x3": "conv", "2a_3x3": "conv_1", "2b_3x3": "conv_2", "3b_1x1": "conv_3"}
_STEM["4a_3x3"] = "conv_4"
_BLOCKS = ["5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"]
_TOWERS = {
    "branch1x1": "conv",
    "branch_pool": "tower_2/conv",
    "branch5x5_1": "tower/conv",
    "branch5x5_2": "tower/conv_1",
    "branch7x7_1": "tower/conv",
    "branch7x7_2": "tower/conv_1",
    "branch7x7_3": "tower/conv_2",
    "branch7x7dbl_1": "tower_1/conv",
    "branch7x7dbl_2": "tower_1/conv_1",
    "branch7x7dbl_3": "tower_1/conv_2",
    "branch7x7dbl_4": "tower_1/conv_3",
    "branch7x7dbl_5": "tower_1/conv_4",
    "branch7x7x3_1": "tower_1/conv",
    "branch7x7x3_2": "tower_1/conv_1",
    "branch7x7x3_3": "tower_1/conv_2",
    "branch7x7x3_4": "tower_1/conv_3",
    "branch3x3": "conv",
    "branch3x3_1": "tower/conv",
    "branch3x3_2": "tower/conv_1",
    "branch3x3_2a": "tower/mixed/conv",
    "branch3x3_2b": "tower/mixed/conv_1",
    "branch3x3dbl_1": "tower_1/conv",
    "branch3x3dbl_2": "tower_1/conv_1",
    "branch3x3dbl_3": "tower_1/conv_2",
    "branch3x3dbl_3a": "tower_1/mixed/conv",
    "branch3x3dbl_3b": "tower_1/mixed/conv_1",
}


def graph_name(torch_name):
    """Returns the name in the frozen graph of one of PyTorch's layers, as in torch-fidelity."""
    if torch_name.startswith("Conv2d_"):
        return _STEM[torch_name.removeprefix("Conv2d_")]
    block, branch = torch_name.removeprefix("Mixed_").split(".")
    index = _BLOCKS.index(block)
    tower = _TOWERS[branch]
    if block == "6a":
        tower = tower.replace("tower_1", "tower")
    return f"mixed_{index}/{tower}" if index else f"mixed/{tower}"


def torch_names():
    """Returns the names of all convolutions in PyTorch, with those of our layers."""
    branches = {
        "5": ["branch1x1", "branch5x5_1", "branch5x5_2", "branch3x3dbl_1", "branch3x3dbl_2",
              "branch3x3dbl_3", "branch_pool"],
        "6a": ["branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"],
        "6": ["branch1x1", *(f"branch7x7_{i}" for i in (1, 2, 3)),
              *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)), "branch_pool"],
        "7a": ["branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4))],
        "7": ["branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_1",
              "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"],
    }  # fmt: skip
    names = [f"Conv2d_{name}" for name in _STEM]
    for block in _BLOCKS:
        kind = block if block in branches else block[0]
        names += [f"Mixed_{block}.{branch}" for branch in branches[kind]]
    return {name: graph_name(name).replace("/", "_") for name in names}
