"""Self-Attention GANs (arXiv:1805.08318): train on one core or a pod, score, sample.

The command line (`sagan --help`) is the usual way in. It is a thin layer on functions that can be
called from Python too; `sagan/cli/` has one file for each verb.
"""

__version__ = "0.1.0"

# `python -m sagan` looks for `__main__.py` in the folders of this list; it lies in one of its own.
__path__.append(f"{__path__[0]}/cli/as_module")
