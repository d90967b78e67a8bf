"""Exit codes of every command; launchers decide by them whether to start a run again."""

DONE = 0
CRASH = 1
BAD_INPUT = 2
DIVERGED = 3
NO_CHECKPOINT = 4  # or the work directory belongs to another run or process
PREEMPTED = 42  # stopped on request, with everything saved
HUNG = 134  # no step for too long, or another process of the job is gone
INTERRUPTED = 130  # Ctrl-C
BROKEN_PIPE = 141  # whoever read the output has gone


class Failure(Exception):
    """An expected way to fail. The command prints its text as one line and ends with its code."""

    exit_code = CRASH
