"""What cannot be put into a network is listed."""

import numpy as np
import pytest

from sagan.tasks.gan.imports.filling import Filling


@pytest.mark.parametrize(("name", "u", "v"), [("u", 2, 2), ("v", 3, 3)])
def test_a_vector_of_spectral_norm_that_does_not_fit_is_named(name, u, v):
    arrays = {
        "l.weight_orig": np.ones((3, 2), np.float32),
        "l.weight_u": np.ones(u, np.float32),
        "l.weight_v": np.ones(v, np.float32),
    }
    filling = Filling("g", arrays, {"l/kernel": (2, 3)}, {}, iterates=False)
    filling.layer("l", "l")
    assert any(f"l's {name} is" in text for text in filling.problems())
