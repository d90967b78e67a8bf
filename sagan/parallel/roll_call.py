"""All processes of a job meet before JAX starts, so that who is absent can be said.

JAX itself ends in a C++ abort here, which names neither the address nor the missing ones. Process
0 listens on the coordinator's own port for as long as the call lasts: nothing else needs opening.
"""

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Iterable

from sagan.config.exit_codes import HUNG, Failure

_HELLO = "sagan"
_RETRY_SECONDS = 0.2
_LONGEST_LINE = 200  # a stranger on the port is not listened to for longer


class JoinError(Failure):
    """The processes of this job did not come together, which is worth another try."""

    exit_code = HUNG


def call(address: str, num_processes: int, process_id: int, timeout_seconds: float) -> None:
    """Returns in all processes once all are there.

    Args:
      address: host:port of process 0.

    Raises: JoinError saying how many came and which are missing; or that nobody answers at the
      address; or that the port is taken; or that two processes have one number.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise JoinError(f"coordinator address {address!r}; needed: host:port")
    deadline = time.monotonic() + timeout_seconds
    if process_id == 0:
        _Desk(address, int(port), num_processes, timeout_seconds).attend(deadline)
    else:
        _report(address, host.strip("[]"), int(port), num_processes, process_id, deadline)


def missing(num_processes: int, here: Iterable[int]) -> str:
    absent = sorted(set(range(num_processes)) - set(here))
    shown = ", ".join(map(str, absent[:16])) + (", …" if len(absent) > 16 else "")
    return f"{num_processes - len(absent)} of {num_processes} processes joined; missing {shown}"


class _Desk:
    """Process 0: notes who has come, and tells all of them how it ended."""

    def __init__(self, address: str, port: int, num_processes: int, timeout_seconds: float):
        self._address, self._timeout = address, timeout_seconds
        self._num_processes = num_processes
        self._here: dict[int, socket.socket] = {}
        try:
            # Both families, as JAX's service will.
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            self._server = socket.create_server(
                ("", port), family=family, dualstack_ipv6=dual, backlog=1024
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise JoinError(
                    f"port {port} of {address} is taken by another program on this machine"
                ) from error
            raise JoinError(f"cannot listen on {address}: {error}") from error

    def attend(self, deadline: float) -> None:
        ended = "process 0 stopped waiting"
        with self._server, selectors.DefaultSelector() as selector:
            self._server.setblocking(False)
            selector.register(self._server, selectors.EVENT_READ)
            texts: dict[socket.socket, bytes] = {}
            try:
                while len(self._here) < self._num_processes - 1:
                    if time.monotonic() >= deadline:
                        raise JoinError(
                            f"{missing(self._num_processes, {0, *self._here})} "
                            f"(waited {self._timeout:g} s at {self._address})"
                        )
                    for key, _ in selector.select(_RETRY_SECONDS):
                        self._attend_one(selector, texts, key.fileobj)  # type: ignore[arg-type]
                ended = "go"
            except JoinError as error:
                ended = str(error)
                raise
            finally:
                self._dismiss(ended)
                for other in texts:  # a stranger, or the one that did not fit
                    with contextlib.suppress(OSError):
                        other.sendall(f"{ended}\n".encode())
                    other.close()

    def _attend_one(
        self,
        selector: selectors.BaseSelector,
        texts: dict[socket.socket, bytes],
        ready: socket.socket,
    ) -> None:
        if ready is self._server:
            with contextlib.suppress(OSError):
                one, _ = self._server.accept()
                one.setblocking(False)
                selector.register(one, selectors.EVENT_READ)
                texts[one] = b""
            return
        try:
            more = ready.recv(_LONGEST_LINE)
        except OSError:
            more = b""
        gone = not more
        if ready in texts:
            texts[ready] += more
            line, newline, _ = texts[ready].partition(b"\n")
            if newline:
                gone = not self._admit(line.decode(errors="replace"), ready)
                del texts[ready]
            else:
                gone = gone or len(line) > _LONGEST_LINE
        if gone:  # a stranger, or a process that died again
            selector.unregister(ready)
            texts.pop(ready, None)
            self._here = {i: s for i, s in self._here.items() if s is not ready}
            ready.close()

    def _admit(self, line: str, one: socket.socket) -> bool:
        words = line.split()
        if len(words) != 3 or words[0] != _HELLO or not (words[1] + words[2]).isdigit():
            return False
        number, total = int(words[1]), int(words[2])
        if total != self._num_processes or not 0 < number < total:
            raise JoinError(
                f"a process says it is {number} of {total}; this job at {self._address} has "
                f"{self._num_processes}"
            )
        if number in self._here and not _hung_up(self._here[number]):
            raise JoinError(f"two processes say they are {number} of {total} at {self._address}")
        self._here[number] = one
        return True

    def _dismiss(self, ended: str) -> None:
        for one in self._here.values():
            with contextlib.suppress(OSError):
                one.setblocking(True)
                one.settimeout(5)
                one.sendall(f"{ended}\n".encode())
        for one in self._here.values():
            # The others hang up first: this end's port must be free at once.
            with contextlib.suppress(OSError):
                while one.recv(_LONGEST_LINE):
                    pass
            one.close()


def _hung_up(one: socket.socket) -> bool:
    """Says so of a process that died and was started again."""
    try:
        return one.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _report(
    address: str, host: str, port: int, num_processes: int, process_id: int, deadline: float
) -> None:
    """Any other process: says who it is, and waits for how it ended."""
    started, last = time.monotonic(), "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as one:
                one.sendall(f"{_HELLO} {process_id} {num_processes}\n".encode())
                # Process 0 may have begun its own wait later than this one.
                one.settimeout(max(2 * left, 5))
                ended = one.makefile().readline().strip()
        except OSError as error:  # also a name that does not resolve yet
            last = str(error) or type(error).__name__
        else:
            if ended == "go":
                return
            if ended:
                raise JoinError(ended)
            last = "the connection was closed"
        time.sleep(_RETRY_SECONDS)
    raise JoinError(
        f"process {process_id} of {num_processes}: nobody admits it at {address} "
        f"({last}; tried for {time.monotonic() - started:.0f} s)"
    )
