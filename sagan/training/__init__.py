"""Training a task: what is opened, in which order, and the loop around the compiled step.

| file | what it holds |
|---|---|
| `prepare.py` | from a config to the parts of a run |
| `loop.py` | the loop, and `run`, which trains |
| `dispatch.py`, `state.py` | the compiled program of a few steps; the state of a run |
| `nonfinite.py`, `health.py` | steps that are skipped; alarms, and when a run ends early |
| `phase.py` | what the process is doing now |
| `stop.py`, `watchdog.py` | requests to stop; ending a process that hangs |
| `goodput.py`, `speed.py` | where the time goes; images per second |
| `preflight.py` | `sagan check` and `--dry-run`: checks before a run |
"""
