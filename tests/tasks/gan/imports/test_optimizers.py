"""Optimizers and settings of a source that cannot be taken as they are."""

import numpy as np
import pytest

from sagan.config import ConfigError, make
from sagan.tasks.gan import imports
from sagan.tasks.gan.imports import biggan_pytorch, optimizers
from sagan.tasks.gan.imports.filling import Move, Network
from sagan.tasks.gan.imports.optimizers import Moments

NETWORK = Network({}, {}, {}, {}, {"a": Move("a/kernel", lambda x: x, (2,))})


def adam(**state):
    group = {"lr": 3e-4, "betas": (0.5, 0.99), "eps": 1e-7, "params": [0]}
    return {"state": {0: state} if state else {}, "param_groups": [group]}


def test_moments_of_another_optimizer_are_refused():
    x = np.ones(2)
    found = optimizers.read(adam(step=5, exp_avg=x, exp_avg_sq=x), NETWORK, ["a"])
    assert found.count == 5 and found.mean is not None
    for state, fact in ((adam(step=5, square_avg=x), "exp_avg"), (adam(), "parameter 0")):
        with pytest.raises(ConfigError, match=fact):
            optimizers.read(state, NETWORK, ["a"])


def test_optimizers_that_differ_need_a_word():
    settings = [{"lr": lr, "betas": (b, 0.9), "eps": 1e-6} for lr, b in ((1e-4, 0.0), (2e-4, 0.5))]
    moments = {player: Moments(1, {}, {}, s) for player, s in zip("gd", settings, strict=True)}
    config = make(optim={"beta1": 0.25})
    with pytest.raises(ConfigError, match="beta1"):
        optimizers.with_rates(config, moments, [])
    optim = optimizers.with_rates(config, moments, ["optim.beta1=0.25"]).optim
    assert (optim.beta1, optim.g_learning_rate, optim.d_learning_rate) == (0.25, 1e-4, 2e-4)


@pytest.mark.parametrize("settings", [{"norm_style": "in"}, {"config": {"G_nl": "selu"}}])
def test_settings_that_would_give_other_images_are_refused(settings):
    with pytest.raises(ConfigError, match="norm_style=|G_nl="):
        biggan_pytorch.fields({}, None, settings)


def test_two_optimizers_of_one_player_are_refused(tmp_path):
    torch = pytest.importorskip("torch")
    files = [tmp_path / name for name in ("G_optim.pth", "best_D_optim.pth")]
    for file in files:
        torch.save(adam(step=1), file)
    with pytest.raises(ConfigError, match=r"best_D_optim.pth is another"):
        imports.read("biggan_pytorch", files)
