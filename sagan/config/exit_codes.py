"""Exit codes of every command; launchers decide by them whether to start a run again."""

DONE = 0
CRASH = 1
BAD_INPUT = 2
DIVERGED = 3
NO_CHECKPOINT = 4  # or the work directory belongs to another run or process
PREEMPTED = 42  # stopped on request, with everything saved
HUNG = 134  # no step for too long, or another process of the job is gone
