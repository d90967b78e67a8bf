"""One trainer per work directory: a file that says who holds it, renewed while the holder lives.

Clocks are not trusted. On the holder's own machine its process is looked for. From elsewhere a
lock is watched: if its modification time moves, the holder lives; if it stands still for long
enough by the watcher's own clock, the holder is gone.
"""

import json
import os
import secrets
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from sagan.config.exit_codes import NO_CHECKPOINT
from sagan.parallel.processes import exit_now, on_exit_now

NAME = "train.lock"
_RENEWALS = 12  # in the time after which a lock is stale


class LockedError(Exception):
    """Another trainer holds the work directory (exit 4)."""


class _Seen(NamedTuple):
    """A lock file at one look: who wrote it, and when it was last renewed."""

    owner: dict[str, Any]
    renewed: int


class Lock:
    """Holds a work directory for this process, as a context; waits where its holder may be gone.

    Args:
      run: what is being trained, for people.
      stale_seconds: a lock that was not renewed for so long is taken over.

    Raises: LockedError, on entering, that names the holder's host, process and age.
    """

    def __init__(self, workdir: Path, run: str, stale_seconds: int):
        self._path, self._run, self._stale_seconds = workdir / NAME, run, stale_seconds

    def __enter__(self) -> None:
        token = secrets.token_hex(8)
        self._mine = {"token": token, "run": self._run, "started": time.time(), **_here()}
        while not _create(self._path, self._mine):
            _await_stale(self._path, self._stale_seconds)
        self._done = threading.Event()
        self._unregister = on_exit_now(self.release)
        arguments = (self._path, self._mine, self._stale_seconds / _RENEWALS, self._done)
        self._renewer = threading.Thread(target=_renew, args=arguments, name="lock", daemon=True)
        self._renewer.start()

    def __exit__(self, *_: object) -> None:
        self._unregister()
        self.release()
        self._renewer.join()

    def release(self) -> None:
        """Gives the directory back; from any thread, and more than once."""
        self._done.set()
        seen = _look(self._path)
        if seen is not None and seen.owner.get("token") == self._mine["token"]:
            self._path.unlink(missing_ok=True)


def _create(path: Path, content: dict[str, Any]) -> bool:
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(json.dumps(content) + "\n")
    except OSError:  # the disk is full: an empty lock would keep the next start waiting
        path.unlink(missing_ok=True)
        raise
    return True


def _look(path: Path) -> _Seen | None:
    """Opens the file, since over a network only that asks the server anew; None if it is gone."""
    try:
        with path.open(encoding="utf-8") as file:
            text, renewed = file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        owner = json.loads(text)
    except ValueError:  # between its creation and its first line, or a holder that died there
        owner = {}
    return _Seen(owner if isinstance(owner, dict) else {}, renewed)


def _await_stale(path: Path, stale_seconds: int) -> None:
    """Returns once the lock is gone or was taken away from a holder that is.

    Raises: LockedError if the holder lives.
    """
    first = _look(path)
    if first is None:
        return
    age = max(0.0, _now(path) - first.renewed) / 1e9
    who = _who(first)
    alive = _is_alive(first.owner)
    if alive:
        raise LockedError(_refusal(path, first, age))
    if alive is None:
        # A clock that jumped makes a young lock look old, so an old one is watched too, briefly.
        patience = stale_seconds * (3 / _RENEWALS if age >= stale_seconds else 1.0)
        print(
            f"sagan: {path.parent} is locked by {who}, renewed {age:.0f} s ago; taking it over "
            f"unless that process shows itself within {patience:.0f} s",
            file=sys.stderr,
        )
        end = time.monotonic() + patience
        while time.monotonic() < end:
            time.sleep(min(1.0, patience / 10))
            seen = _look(path)
            if seen is None:
                return
            if seen != first:
                raise LockedError(_refusal(path, seen, 0.0))
    _take_away(path, first)
    print(f"sagan: took over {path.parent} from {who}, which is gone", file=sys.stderr)


def _who(seen: _Seen) -> str:
    return f"host {seen.owner.get('host', '?')}, process {seen.owner.get('pid', '?')}"


def _refusal(path: Path, seen: _Seen, age: float) -> str:
    return (
        f"{path.parent} is being trained by {_who(seen)} (run {seen.owner.get('run', '?')}, lock "
        f"renewed {age:.0f} s ago): end that one first, or give another --workdir"
    )


def _take_away(path: Path, judged: _Seen) -> None:
    """Removes a lock, unless another process has replaced it since it was judged."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    taken = _look(aside)
    if taken is not None and taken.owner == judged.owner:
        aside.unlink()
    else:
        aside.rename(path)


def _renew(path: Path, mine: dict[str, Any], every: float, done: threading.Event) -> None:
    """Keeps the file's time moving; ends the process if the directory was taken over."""
    while not done.wait(every):
        try:
            seen = _look(path)
            if seen is None and not done.is_set():  # someone has tidied up
                _create(path, mine)
                continue
            if seen is None or seen.owner.get("token") == mine["token"]:
                os.utime(path)  # writes nothing, so it works on a full disk
                continue
        except OSError:  # the disk is away for a moment; the next renewal may succeed
            continue
        # This process stood still for longer than the lock lasts. Two writers would mix.
        print(
            f"sagan: {path.parent} was taken over by {_who(seen)} while this process stood still; "
            "ending",
            file=sys.stderr,
            flush=True,
        )
        exit_now(NO_CHECKPOINT)


def _now(path: Path) -> int:
    """Asks the file system for its time, which the lock's is measured by."""
    probe = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        probe.touch()
        return probe.stat().st_mtime_ns
    finally:
        probe.unlink(missing_ok=True)


def _here() -> dict[str, Any]:
    """Names this process so that a look into /proc tells it from another of the same number."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "place": _place(),
        "born": _born(os.getpid()),
    }


def _is_alive(owner: dict[str, Any]) -> bool | None:
    """Says whether the holder runs; None if it cannot be known from here."""
    if not owner.get("place") or owner["place"] != _place():
        return None
    born = _born(owner.get("pid", 0))
    return born is not None and born == owner.get("born")


def _place() -> str | None:
    """Names where process numbers mean the same: this boot, this process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _born(pid: int) -> int | None:
    """Gives when a process started, in ticks since boot; None if there is none (or a dead one)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
