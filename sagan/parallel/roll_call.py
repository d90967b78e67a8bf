"""Before JAX starts, all processes of a job report to process 0, which names those missing.

Without this, JAX aborts in C++ and names neither the address nor the missing processes. Process 0
listens on the coordinator's port, which JAX uses afterwards, so no other port needs to be open.
"""

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Iterable

from sagan.config.exit_codes import HUNG, Failure

_HELLO = "sagan"
_GO = "go"  # the outcome when all have joined; any other is an error message
_RETRY_SECONDS = 0.2
_LONGEST_LINE = 200  # bytes; a connection that sends a longer line is closed


class JoinError(Failure):
    """The processes of this job did not come together, which is worth another try."""

    exit_code = HUNG


def call(address: str, num_processes: int, process_id: int, timeout_seconds: float) -> None:
    """Waits, in each process, until all have called this.

    Args:
      address: host:port of process 0.

    Raises: JoinError if processes are missing (says how many joined and which did not), nobody
      answers at the address, the port is in use, or two processes have the same number.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise JoinError(f"coordinator address {address!r}; needed: host:port")
    deadline = time.monotonic() + timeout_seconds
    if process_id == 0:
        _Coordinator(address, int(port), num_processes, timeout_seconds).attend(deadline)
    else:
        _join(address, host.strip("[]"), int(port), num_processes, process_id, deadline)


def missing(num_processes: int, joined: Iterable[int]) -> str:
    """Describes how many processes have joined, and the first 16 that have not."""
    absent = sorted(set(range(num_processes)) - set(joined))
    shown = ", ".join(map(str, absent[:16])) + (", …" if len(absent) > 16 else "")
    return f"{num_processes - len(absent)} of {num_processes} processes joined; missing {shown}"


class _Coordinator:
    """Records, in process 0, which processes have joined, and sends the outcome to all of them."""

    def __init__(self, address: str, port: int, num_processes: int, timeout_seconds: float):
        self._address, self._timeout = address, timeout_seconds
        self._num_processes = num_processes
        self._joined: dict[int, socket.socket] = {}
        try:
            # Listen on IPv4 and IPv6, as JAX's own service does.
            dual = socket.has_dualstack_ipv6()
            family = socket.AF_INET6 if dual else socket.AF_INET
            self._server = socket.create_server(
                ("", port), family=family, dualstack_ipv6=dual, backlog=1024
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise JoinError(
                    f"port {port} of {address} is in use by another program on this machine"
                ) from error
            raise JoinError(f"cannot listen on {address}: {error}") from error

    def attend(self, deadline: float) -> None:
        """Waits until all other processes have joined."""
        outcome = "process 0 stopped waiting"
        with self._server, selectors.DefaultSelector() as selector:
            self._server.setblocking(False)
            selector.register(self._server, selectors.EVENT_READ)
            texts: dict[socket.socket, bytes] = {}
            try:
                while len(self._joined) < self._num_processes - 1:
                    if time.monotonic() >= deadline:
                        raise JoinError(
                            f"{missing(self._num_processes, {0, *self._joined})} "
                            f"(waited {self._timeout:g} s at {self._address})"
                        )
                    for key, _ in selector.select(_RETRY_SECONDS):
                        self._attend_one(selector, texts, key.fileobj)  # type: ignore[arg-type]
                outcome = _GO
            except JoinError as error:
                outcome = str(error)
                raise
            finally:
                self._dismiss(outcome)
                for other in texts:  # connections of other programs, or refused ones
                    with contextlib.suppress(OSError):
                        other.sendall(f"{outcome}\n".encode())
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
        if gone:  # a connection of another program, or of a process that died after joining
            selector.unregister(ready)
            texts.pop(ready, None)
            self._joined = {i: s for i, s in self._joined.items() if s is not ready}
            ready.close()

    def _admit(self, line: str, one: socket.socket) -> bool:
        words = line.split()
        if len(words) != 3 or words[0] != _HELLO or not (words[1] + words[2]).isdigit():
            return False
        number, total = int(words[1]), int(words[2])
        if total != self._num_processes or not 0 < number < total:
            raise JoinError(
                f"a process says that it is number {number} of {total} processes, but this job at "
                f"{self._address} has {self._num_processes}"
            )
        if number in self._joined and not _hung_up(self._joined[number]):
            raise JoinError(f"two processes at {self._address} are number {number} of {total}")
        self._joined[number] = one
        return True

    def _dismiss(self, outcome: str) -> None:
        """Sends the outcome of the roll call to all processes that have joined."""
        for one in self._joined.values():
            with contextlib.suppress(OSError):
                one.setblocking(True)
                one.settimeout(5)
                one.sendall(f"{outcome}\n".encode())
        for one in self._joined.values():
            # The others close first: otherwise this port would stay in use (TIME_WAIT).
            with contextlib.suppress(OSError):
                while one.recv(_LONGEST_LINE):
                    pass
            one.close()


def _hung_up(one: socket.socket) -> bool:
    """Returns whether the other end has closed: its process died, and may have been restarted."""
    try:
        return one.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _join(
    address: str, host: str, port: int, num_processes: int, process_id: int, deadline: float
) -> None:
    """Sends this process's number to process 0, until it answers; returns if all have joined."""
    started, last = time.monotonic(), "no answer"
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host, port), timeout=left) as one:
                one.sendall(f"{_HELLO} {process_id} {num_processes}\n".encode())
                # Process 0 may have started to wait later than this one.
                one.settimeout(max(2 * left, 5))
                outcome = one.makefile().readline().strip()
        except OSError as error:  # also a name that does not resolve yet
            last = str(error) or type(error).__name__
        else:
            if outcome == _GO:
                return
            if outcome:
                raise JoinError(outcome)
            last = "the connection was closed"
        time.sleep(_RETRY_SECONDS)
    raise JoinError(
        f"process {process_id} of {num_processes}: no answer at {address} "
        f"({last}; tried for {time.monotonic() - started:.0f} s)"
    )
