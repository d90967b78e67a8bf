"""Measures how fast training and its parts run on this machine, and checks their results.

The timed programs are those that training and evaluation run, on all devices of this machine, with
the config's batch. If the config's data is not available, synthetic images of the same size are
used, and the result says so. Each file measures one thing; `sagan/cli/bench.py` selects it.
"""
