"""What a process is doing now: one value, which the watchdog, signals and goodput read."""

import contextlib
import enum
from collections.abc import Callable, Iterator


class Phase(enum.Enum):
    """One kind of work. Its time is the scalar `time/<value>_seconds`."""

    RESTORING = "restart"
    COMPILING = "compile"  # and everything else before the first step
    STEPPING = "step"
    READING = "input"
    SAMPLING = "sample"
    SAVING = "checkpoint"
    SCORING = "evaluation"

    @property
    def may_be_slow(self) -> bool:
        """Whether the watchdog allows more time than for a training step."""
        return self not in (Phase.STEPPING, Phase.READING)

    @property
    def has_nothing_to_lose(self) -> bool:
        """Whether all training done so far is saved, so that the process may end at once.

        Before the first step there is no training yet; what is scored was saved before.
        """
        return self in (Phase.RESTORING, Phase.COMPILING, Phase.SCORING)


Listener = Callable[[Phase, Phase], None]


class Activity:
    """The phase that this process is in; the loop is the only one that changes it.

    Attributes:
      phase: the present one.
    """

    def __init__(self, phase: Phase):
        self.phase = phase
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Calls `listener(before, after)` at every change from now on."""
        self._listeners.append(listener)

    def switch(self, phase: Phase) -> None:
        """Enters a phase."""
        before, self.phase = self.phase, phase
        for listener in self._listeners:
            listener(before, phase)

    @contextlib.contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Enters a phase for the length of a block, and then returns to the one before."""
        before = self.phase
        self.switch(phase)
        try:
            yield
        finally:
            self.switch(before)
