"""The state of a source's Adam, as that of ours."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sagan.config import Config, replace
from sagan.config.fields import require
from sagan.tasks.gan.imports.filling import Arrays, Network


class Moments(NamedTuple):
    """Adam's state for one network.

    Attributes:
      mean, square: the averages of gradients and of their squares, by path of the parameter; None
        if the source normalises parameters that ours does not, so that gradients differ.
      settings: learning rate, betas and epsilon, by the names of torch.
    """

    count: int
    mean: Arrays | None
    square: Arrays | None
    settings: Mapping[str, Any]


def read(state: Mapping[str, Any], network: Network, order: Sequence[str]) -> Moments:
    """Arranges the moments as the parameters of a network were arranged.

    Args:
      state: `state_dict()` of torch's Adam; its numbers stand for parameters in the order in which
        the network has them.
      order: the keys of the network's file, in its order.

    Raises: ConfigError if it is not Adam's, has another number of parameters, or moments of other
      shapes.
    """
    keys = [key for key in order if key in network.moves]
    groups = state["param_groups"]
    numbers = [number for group in groups for number in group["params"]]
    require(
        len(numbers) == len(keys),
        f"the optimizer has {len(numbers)} parameters, the network {len(keys)}; allowed: its own",
    )
    for number in numbers:
        absent = {"step", "exp_avg", "exp_avg_sq"} - dict(state["state"].get(number, ())).keys()
        require(
            not absent,
            f"the optimizer has no {', '.join(sorted(absent))} of parameter {number}; needed: "
            "the state of Adam after a step",
        )
    settings = {name: value for name, value in groups[0].items() if name != "params"}
    moments: dict[str, Arrays | None] = {}
    for name in ("exp_avg", "exp_avg_sq"):
        found: Arrays | None = {}
        for number, key in zip(numbers, keys, strict=True):
            move, moment = network.moves[key], state["state"][number][name]
            if move is None or found is None:
                found = None
                continue
            require(
                moment.shape == move.shape,
                f"the optimizer's {name} of {key} is {moment.shape}; allowed: {move.shape}",
            )
            found[move.path] = np.array(move.arranged(moment), np.float32, order="C")
        moments[name] = found
    step = state["state"][numbers[0]]["step"]
    count = int(np.asarray(step).reshape(-1)[0])
    return Moments(count, moments["exp_avg"], moments["exp_avg_sq"], settings)


def with_rates(config: Config, moments: Mapping[str, Moments], words: Sequence[str]) -> Config:
    """Returns a config with the optimizers' settings, where `words` do not give others.

    Raises: ConfigError if the two players differ in what is one setting here.
    """
    given = {word.partition("=")[0] for word in words}
    optim: dict[str, Any] = {}
    for player, found in moments.items():
        beta1, beta2 = found.settings["betas"]
        settings = {f"{player}_learning_rate": found.settings["lr"], "beta1": beta1}
        settings |= {"beta2": beta2, "epsilon": found.settings["eps"]}
        for name, value in settings.items():
            if f"optim.{name}" in given:
                continue
            require(
                optim.get(name, value) == value,
                f"the optimizers differ in {name}: {optim.get(name)} and {value}; needed: one for "
                f"both, as optim.{name}=…",
            )
            optim[name] = value
    return replace(config, optim=optim) if optim else config
