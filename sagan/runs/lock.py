"""One trainer per work directory: a lock file that names its holder, who renews it.

Clocks of different machines are never compared. On the holder's own machine, its process is
looked up. On another machine, the lock is watched: if its modification time changes, the holder
lives; if it does not change for long enough by the watcher's own clock, the holder is gone.
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

from sagan.config.exit_codes import NO_CHECKPOINT, Failure
from sagan.parallel.processes import exit_now, on_exit_now

NAME = "train.lock"
_RENEWALS = 12  # per `stale_seconds`


class LockedError(Failure):
    """Another trainer holds the work directory."""

    exit_code = NO_CHECKPOINT


class _Seen(NamedTuple):
    """The content of a lock file, and when it was last renewed (ns, by the file system)."""

    owner: dict[str, Any]
    renewed: int


class Lock:
    """Keeps other processes out of a work directory, as a context manager.

    The lock is a file that its holder renews every few seconds. If the process that holds it has
    ended, entering takes the lock over. A process of another machine cannot be looked up, so its
    lock is watched first, and is taken over only if nobody renews it meanwhile. A process that was
    stopped for so long that another has taken over its lock ends itself (exit 4).

    Args:
      run: name of the run, which error messages mention.
      stale_seconds: how long a lock held on another machine must stay unchanged before it is taken
        over. A quarter of this is enough if the file's time is already older than this.

    Raises: LockedError, on entering, if the holder is alive; names its host, process and age.
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
        """Removes the lock if it is this process's; may be called from any thread, repeatedly."""
        self._done.set()
        seen = _look(self._path)
        if seen is not None and seen.owner.get("token") == self._mine["token"]:
            self._path.unlink(missing_ok=True)


def is_held(workdir: Path, stale_seconds: int) -> bool:
    """Returns whether a training holds a work directory, without waiting or writing.

    A lock of another machine counts as held while it is younger than `stale_seconds`.
    """
    seen = _look(workdir / NAME)
    if seen is None:
        return False
    alive = _is_alive(seen.owner)
    return time.time() - seen.renewed / 1e9 < stale_seconds if alive is None else alive


def _create(path: Path, content: dict[str, Any]) -> bool:
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(json.dumps(content) + "\n")
    except OSError:  # such as a full disk; an empty lock would make the next start wait
        path.unlink(missing_ok=True)
        raise
    return True


def _look(path: Path) -> _Seen | None:
    """Reads a lock; None if there is none. Opening it makes an NFS client ask the server again."""
    try:
        with path.open(encoding="utf-8") as file:
            text, renewed = file.read(), os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        owner = json.loads(text)
    except ValueError:  # its holder has created the file and not yet written to it, or died first
        owner = {}
    return _Seen(owner if isinstance(owner, dict) else {}, renewed)


def _await_stale(path: Path, stale_seconds: int) -> None:
    """Returns when the lock is gone, or after removing it because its holder has ended.

    Raises: LockedError if the holder is alive.
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
        # A clock that jumped can make a new lock look old, so an old lock is watched too, briefly.
        patience = stale_seconds * (3 / _RENEWALS if age >= stale_seconds else 1.0)
        print(
            f"sagan: {path.parent} is locked by {who}, renewed {age:.0f} s ago; taking it over "
            f"unless it renews the lock within {patience:.0f} s",
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
    print(f"sagan: took over {path.parent} from {who}, which has ended", file=sys.stderr)


def _who(seen: _Seen) -> str:
    return f"host {seen.owner.get('host', '?')}, process {seen.owner.get('pid', '?')}"


def _refusal(path: Path, seen: _Seen, age: float) -> str:
    return (
        f"{path.parent} is being trained by {_who(seen)} (run {seen.owner.get('run', '?')}, lock "
        f"renewed {age:.0f} s ago): end that one first, or give another --workdir"
    )


def _take_away(path: Path, read: _Seen) -> None:
    """Removes a lock, unless another process has replaced it since it was read."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    taken = _look(aside)
    if taken is not None and taken.owner == read.owner:
        aside.unlink()
    else:
        aside.rename(path)


def _renew(path: Path, mine: dict[str, Any], every: float, done: threading.Event) -> None:
    """Updates the lock's time; ends this process if another has taken the lock over."""
    while not done.wait(every):
        try:
            seen = _look(path)
            if seen is None and not done.is_set():  # somebody deleted it
                _create(path, mine)
                continue
            if seen is None or seen.owner.get("token") == mine["token"]:
                os.utime(path)  # works on a full disk too
                continue
        except OSError:  # such as a network disk that is away; the next renewal may succeed
            continue
        # This process was stopped for longer than the lock lasts; two writers would mix files.
        print(
            f"sagan: {path.parent} was taken over by {_who(seen)} while this process was stopped; "
            "ending",
            file=sys.stderr,
            flush=True,
        )
        exit_now(NO_CHECKPOINT)


def _now(path: Path) -> int:
    """Returns the file system's current time (ns), the clock of the lock's times."""
    probe = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        probe.touch()
        return probe.stat().st_mtime_ns
    finally:
        probe.unlink(missing_ok=True)


def _here() -> dict[str, Any]:
    """Identifies this process, so that a later one with the same pid is not taken for it."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "place": _place(),
        "born": _born(os.getpid()),
    }


def _is_alive(owner: dict[str, Any]) -> bool | None:
    """Returns whether the holder runs; None if this machine cannot know it."""
    if not owner.get("place") or owner["place"] != _place():
        return None
    born = _born(owner.get("pid", 0))
    return born is not None and born == owner.get("born")


def _place() -> str | None:
    """Identifies the scope of process numbers: this boot and this process namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _born(pid: int) -> int | None:
    """Returns when a process started, in ticks since boot; None if it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
