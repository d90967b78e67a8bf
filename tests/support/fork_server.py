"""The server of `support.processes`. Run: python fork_server.py SOCKET FILE_DESCRIPTOR."""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys

IMPORTED = [
    "jax", "optax", "orbax.checkpoint", "matplotlib.figure",
    "tensorboard.summary.writer.event_file_writer", "sagan.cli.train", "sagan.cli.eval",
    "sagan.models.sagan", "sagan.tasks.gan", "sagan.evaluation.checkpoints", "sagan.training.loop",
]  # fmt: skip


def serve(path: str, told: int) -> list[str]:
    """Forks for each request. Returns in the forked process only: the words it is to run."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        os.write(told, b"1")
        os.close(told)
        while True:
            readable, _, _ = select.select([server, 0], [], [])
            if 0 in readable:  # whoever started this server has ended
                os._exit(0)
            connection, _ = server.accept()
            with connection:
                size, files, _, _ = socket.recv_fds(connection, 4, 2)
                left, parts = int.from_bytes(size, "big"), []
                while left:
                    parts.append(connection.recv(left))
                    left -= len(parts[-1])
                words, environment, folder = json.loads(b"".join(parts))
                reading, writing = os.pipe()
                middle = os.fork()
                if middle == 0:
                    child = os.fork()
                    if child:
                        os.write(writing, str(child).encode())
                        os._exit(0)
                    break
                os.waitpid(middle, 0)
                connection.sendall(os.read(reading, 20))
                for file in (*files, reading, writing):
                    os.close(file)
    for file in (reading, writing):
        os.close(file)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    for number, file in enumerate(files, 1):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    sys.path[:0] = [word for word in environment.get("PYTHONPATH", "").split(os.pathsep) if word]
    os.environ.clear()
    os.environ.update(environment)
    return words


def main() -> None:
    sys.path.pop(0)  # this file's folder, which the processes' own `python WORDS` would not have
    for name in IMPORTED:
        importlib.import_module(name)
    path, told = sys.argv[1], int(sys.argv[2])
    gc.freeze()
    words = serve(path, told)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # As `entry` sets it by a restart, which would lose what is imported.
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv, sys.path[:0] = words, [os.path.dirname(words[0])]
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
