"""How fast the real thing runs here, and whether it runs right.

Every figure is of the programs that training and evaluation run, on this machine's devices, with
the config's batch. Without the config's data, synthetic images of the same size take their place
and the result says so. One file measures one thing; `sagan/_bench_cli.py` chooses.
"""
