"""Self-attention GANs (arXiv:1805.08318) in JAX: train on one CPU core or a pod, score, sample.

The command line (`sagan --help`) is the usual way in. It is a thin layer: `sagan/cli/` has one file
for each verb, which turns arguments into a call that can be made from Python too; `docs/python.md`
shows how. Importing this module imports no jax.
"""

__version__ = "0.2.0"

# `python -m sagan` looks for `__main__.py` in the folders of this list; it lies in one of its own.
__path__.append(f"{__path__[0]}/cli/as_module")
