"""Exit codes of every command. Launchers read them to decide whether to start a run again."""

DONE = 0  # the command did what was asked
CRASH = 1  # an error that nobody expected; launchers do not start it again
BAD_INPUT = 2  # a value, file or argument is wrong; starting again does not help
DIVERGED = 3  # the training gives NaN or infinite numbers, or has collapsed
NO_CHECKPOINT = 4  # no checkpoint can be used, or the work directory belongs to another run
PREEMPTED = 42  # stopped on request, with everything saved; starting again continues
INTERRUPTED = 130  # the user pressed Ctrl-C
HUNG = 134  # no step for too long, or another process of the job has gone
BROKEN_PIPE = 141  # whoever read the output has gone


class Failure(Exception):
    """An expected way to fail. The command prints its text as one line and ends with its code."""

    exit_code = CRASH
