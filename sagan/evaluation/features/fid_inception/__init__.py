"""The FID Inception network of 2015-12-05: what `features/inception.py` is made of.

`network` is the network in flax; `weights` reads its weights from any kind of file, with the help
of `frozen_graph` for TensorFlow's; `official` downloads the official file; `resize` brings images
to the size that the network reads.
"""
