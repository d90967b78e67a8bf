"""Arrays that one process sends to all arrive bit for bit."""

import socket
import sys
import textwrap

import numpy as np
from support import processes

from sagan.parallel import arrays

PROGRAM = """
    import sys
    import jax
    jax.distributed.initialize("127.0.0.1:{port}", 2, int(sys.argv[1]))
    import numpy as np
    from sagan.parallel import arrays
    here = jax.process_index()
    def tree(of):
        random = np.random.default_rng(of)
        return {{"double": random.normal(size=(3, of)), "count": np.array(2**40 + of),
                "bytes": (random.integers(0, 256, 5 * of, np.uint8), np.zeros((0, 4)))}}
    for source in (0, 1, 0):
        found, wanted = arrays.broadcast(tree(here), source), tree(source)
        for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
"""


def test_two_processes_get_the_same_bits():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        program = textwrap.dedent(PROGRAM.format(port=free.getsockname()[1]))
    running = [processes.Process([sys.executable, "-c", program, str(i)]) for i in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors


def test_one_process_keeps_its_own():
    tree = {"a": np.arange(3.0)}
    assert arrays.broadcast(tree) is tree
