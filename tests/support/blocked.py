"""Runs `sagan`, stopping at a known place, so that a test can send a signal exactly there.

Run: python blocked.py PLACE FLAG SECONDS [WORDS of sagan …]. When PLACE is reached for the first
time, the file FLAG appears and the process stays there for SECONDS. It waits in C without
Python's global lock, as a compilation does.
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
            # Unlike a compilation, sleep returns early when a signal is handled.
            left = seconds
            while left:
                left = ctypes.CDLL(None).sleep(left)
        return original(*args, **kwargs)

    setattr(module, name, held)


def main() -> None:
    place, flag, seconds = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    from sagan import cli
    from sagan.evaluation import checkpoints
    from sagan.files import images
    from sagan.parallel.devices import Devices
    from sagan.runs import checkpoint, logs, manifest

    if place == "compile":
        hold(Devices, "compile", flag, seconds)
    elif place == "step":  # between steps, some of which are not saved
        hold(logs.RunLog, "write", flag, seconds, lambda _, step, *__: step == 8)
    elif place == "evaluation":
        hold(checkpoints, "score_run", flag, seconds)
    elif place == "sample":
        hold(images, "save", flag, seconds, lambda path, *_: path.stem == "10")
    elif place == "save":  # all bytes of step 10 are written, but not committed
        hold(manifest, "write", flag, seconds, lambda folder: folder.name.startswith("10."))
    elif place == "before saving":
        hold(checkpoint.Checkpoints, "save", flag, seconds, lambda _, step, *__: step == 10)
    elif place == "load":  # an evaluator that has chosen step 5
        hold(checkpoint, "pick", flag, seconds, lambda workdir, step: step == 5)
    else:
        raise ValueError(place)
    sys.argv[1:] = sys.argv[4:]
    cli.entry()


if __name__ == "__main__":
    main()
