"""Whether two runs played the same game: every leaf of their states, by name."""

import re

import numpy as np

RELATIVE = 1e-5
# Adam's moments, and the gate, which has moved from 0 by no more than a learning rate or two.
_COARSE, _COARSE_RELATIVE = re.compile(r"\['(mu|nu)'\]|\.(mu|nu)\[|\['gamma'\]$"), 1e-4
# The generator's biases in front of batch norm, which takes them away again: but for what
# attention makes of them their true gradients are 0, and what is left is rounding.
_CANCELLED = re.compile(r"^\W*(g|ema)\b.*\['(conv1|conv2|skip)'\]\['bias'\]$")
_SIZE, _APART = 1e-4, 4e-6  # of such a bias, its average and its moments


def differing(one, other):
    """Names the leaves that lie further apart than rounding takes them."""
    assert one.keys() == other.keys()
    return [key for key in one if not _close(key, one[key], other[key])]


def _close(key, one, other):
    one, other = np.float64(one), np.float64(other)
    size, apart = np.linalg.norm(one), np.linalg.norm(other - one)
    if apart <= (_COARSE_RELATIVE if _COARSE.search(key) else RELATIVE) * size:
        return True
    return bool(_CANCELLED.search(key)) and size < _SIZE and apart < _APART
