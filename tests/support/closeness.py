"""Compares two runs: every leaf of their states, by name, up to rounding."""

import re

import numpy as np

RELATIVE = 1e-5
# Adam's moments, and attention's gamma, which is still close to its initial 0.
_COARSE, _COARSE_RELATIVE = re.compile(r"\['(mu|nu)'\]|\.(mu|nu)\[|\['gamma'\]$"), 1e-4
# The generator's biases in front of batch norm, which subtracts them again. Their gradients are
# almost 0, so rounding dominates them.
_CANCELLED = re.compile(r"^\W*(task\W+)?(g|ema)\b.*\['(conv1|conv2|skip)'\]\['bias'\]$")
_SIZE, _APART = 1e-4, 4e-6  # of such a bias, its average and its moments


def differing(one, other):
    """Lists the leaves that differ by more than rounding."""
    assert one.keys() == other.keys()
    return [key for key in one if not _close(key, one[key], other[key])]


def _close(key, one, other):
    one, other = np.float64(one), np.float64(other)
    size, apart = np.linalg.norm(one), np.linalg.norm(other - one)
    if apart <= (_COARSE_RELATIVE if _COARSE.search(key) else RELATIVE) * size:
        return True
    return bool(_CANCELLED.search(key)) and size < _SIZE and apart < _APART
