"""Self-Attention GANs (arXiv:1805.08318): train on one core or a pod, score, sample.

The command line (`sagan --help`) is the usual way in; from Python, `sagan.config.load`,
`sagan.train.run`, `sagan.evaluate.run` and `sagan.sample.run` are what it calls.
"""

__version__ = "0.1.0"
