"""`sagan`, with one of its parts held up: where a signal or a kill then comes is no chance.

Run: python blocked.py PLACE FLAG SECONDS [WORDS of sagan …]. When PLACE is reached first, the
file FLAG appears and the process stays there for SECONDS, in C and without Python's lock, as a
compilation does.
"""

import ctypes
import functools
import sys
from pathlib import Path


def hold(module, name, flag: Path, seconds: int, when=lambda *_: True):
    original = getattr(module, name)

    @functools.wraps(original)
    def held(*args, **kwargs):
        if not flag.exists() and when(*args):
            flag.touch()
            # Returns early when a signal is handled; a compilation would not.
            left = seconds
            while left:
                left = ctypes.CDLL(None).sleep(left)
        return original(*args, **kwargs)

    setattr(module, name, held)


def main() -> None:
    place, flag, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    from sagan import cli
    from sagan.evaluation import checkpoints
    from sagan.parallel.devices import Devices
    from sagan.runs import checkpoint, manifest
    from sagan.tasks.gan import grids, sample
    from sagan.training import loop as train

    if place == "compile":
        hold(Devices, "compile", flag, seconds)
    elif place == "step":  # between steps, with some unsaved
        hold(train._Run, "_move_on", flag, seconds, lambda run: run.step == 8)
    elif place == "evaluation":
        hold(checkpoints, "score_run", flag, seconds)
    elif place == "sample":
        hold(grids, "draw", flag, seconds, lambda *args: args[-1] == 10)
    elif place == "save":  # all bytes of step 10 are written, and not yet committed
        hold(manifest, "write", flag, seconds, lambda folder: folder.name.startswith("10."))
    elif place == "before saving":
        hold(checkpoint.Checkpoints, "save", flag, seconds, lambda _, step, *__: step == 10)
    elif place == "load":  # an evaluator that has chosen step 5
        hold(sample, "load", flag, seconds, lambda workdir, step: step == 5)
    else:
        raise ValueError(place)
    sys.argv[1:] = sys.argv[4:]
    cli.entry()


if __name__ == "__main__":
    main()
