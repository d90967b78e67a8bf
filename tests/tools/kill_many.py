"""Kills a debug run many times, and compares the resumed run with an uninterrupted one.

Run: python tests/tools/kill_many.py --count 100

Each kill is a SIGKILL at a random moment: most while the run steps and saves (every second step),
the others at any moment since its start. The same command then resumes it. The state, samples and
scalars of a finished run are compared bit for bit. New runs start until all kills are made.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from support import processes, runs  # noqa: E402

from sagan.runs import checkpoint  # noqa: E402

_STEPS = 60
_WORDS = (f"train.steps={_STEPS}", "checkpoint.every_steps=2", "checkpoint.keep=3",
          "sample.every_steps=30", "checkpoint.statistics_batches=1")  # fmt: skip
_LONGEST = 3.0  # seconds of stepping before a kill
_ANYWHERE = 0.2  # share of the kills that come at any moment since the start
_START_SECONDS = 12.0


def kill_once(words: list[str], environment: dict[str, str], moments: random.Random) -> str:
    """Starts the command and kills it; returns what it was doing, or `finished`."""
    workdir = Path(words[-1])
    anywhere, delay = moments.random() < _ANYWHERE, moments.random()
    saved = (checkpoint.steps(workdir) or [0])[-1]
    before = (workdir / "metrics.jsonl").stat().st_mtime_ns if runs.logged(workdir) else 0
    process = processes.Process(words, environment)

    def stepping() -> bool:
        path = workdir / "metrics.jsonl"  # a start removes lines of later steps
        written = path.exists() and path.stat().st_mtime_ns != before
        return written and runs.logged(workdir) > saved

    end = time.monotonic() + (delay * _START_SECONDS if anywhere else runs.PATIENCE)
    while time.monotonic() < end and process.poll() is None and (anywhere or not stepping()):
        time.sleep(0.01)
    if not anywhere and process.poll() is None:
        time.sleep(delay * _LONGEST)
    process.kill()
    _, text = process.communicate()
    if process.returncode == 0:
        return "finished"
    assert process.returncode == -9, f"exit {process.returncode}: {text[-3000:]}"
    assert "damaged" not in text, text[-3000:]
    if not stepping():
        return "starting"
    saving = any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))
    return "saving" if saving else "stepping"


def kill_many(
    count: int, seed: int, folder: Path, environment: dict[str, str], command=runs.command
) -> Counter[str]:
    """Kills `count` times; raises AssertionError if a killed run differs from `straight`.

    Args:
      command: makes the command of a run from its work directory and overrides.
    """
    straight = folder / "straight"
    runs.finish(command(straight, *_WORDS), environment)
    moments, found, number = random.Random(seed), Counter[str](), 0
    while found["starting"] + found["stepping"] + found["saving"] < count:
        workdir, here = folder / f"killed{number}", 0
        words = command(workdir, *_WORDS)
        while found["starting"] + found["stepping"] + found["saving"] < count:
            where = kill_once(words, environment, moments)
            found[where] += 1
            if where == "finished":
                break
            here += 1
            newest = (checkpoint.steps(workdir) or [0])[-1]
            print(f"kill {sum(found.values())}: {where}, {newest} saved", flush=True)
        runs.finish(words, environment)
        runs.assert_same(straight, workdir, steps=[_STEPS])
        found["compared"] += 1
        number += 1
        print(f"run {number}: killed {here} times, equal to the straight one", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--small", action="store_true", help="networks that start and step faster: more states"
    )
    args = parser.parse_args()
    # One thread per process makes starts on a few cores faster.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        environment = runs.environment(Path(folder) / "cache")
        command = runs.small if args.small else runs.command
        found = kill_many(args.count, args.seed, Path(folder), environment, command)
    print(
        f"{args.count} kills -9 (seed {args.seed}): {found['stepping']} while stepping, "
        f"{found['saving']} while saving, {found['starting']} while starting; "
        f"{found['compared']} runs that were killed, resumed and ended, all equal bit for bit"
    )


if __name__ == "__main__":
    main()
