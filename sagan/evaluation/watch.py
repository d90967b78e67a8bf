"""A run's checkpoints under one protocol: scored once each, as they appear if wanted."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sagan.evaluation import extract, protocols, results
from sagan.evaluation.evaluator import Evaluator, evaluate_step
from sagan.runs import checkpoint

POLL_SECONDS = 10.0


class UnfiledError(Exception):
    """Scores were computed, and could not be written to the work directory."""


class Job:
    """One run's checkpoints under one protocol.

    Args:
      own: whether that protocol is the one that the run's config asks for.
    """

    def __init__(self, workdir: Path, evaluator: Evaluator, num_images: int,
                 seeds: Sequence[int] = (0,), truncation: float | None = None,
                 own: bool = True):  # fmt: skip
        self._workdir, self._evaluator, self._num_images = workdir, evaluator, num_images
        self._seeds, self._truncation, self._own = seeds, truncation, own
        self._unfiled: OSError | None = None

    def filed(self, step: int) -> dict[str, Any] | None:
        """Gives the scores that the step has under this very fingerprint; None if none."""
        config = checkpoint.read_config(self._workdir)
        made = protocols.of_generator(config, self._seeds, self._truncation)
        wanted = self._evaluator.protocol(self._num_images, made)
        return results.filed(self._workdir, step, wanted)

    def is_done(self, step: int) -> bool:
        """Says whether the step already has all these scores under this very fingerprint."""
        result = self.filed(step)
        return result is not None and all(
            any(key == name or key.startswith(f"{name}_") for key in result["metrics"])
            for name in self._evaluator.keys(self._num_images)
        )

    def require_filed(self) -> None:
        """Raises: UnfiledError if scores could not be written; called once they were shown."""
        if self._unfiled is not None:
            raise UnfiledError(
                f"the scores could not be filed in {self._workdir}: {self._unfiled}"
            ) from self._unfiled

    def score(self, step: int, *, must: bool = False) -> Any:
        """Scores and files one step; None if it is damaged or pruned, unless it `must` be there."""
        from sagan.tasks.gan import sample

        try:
            sampler = sample.load(self._workdir, step)
        except checkpoint.DamagedError as error:
            if must:
                raise
            print(f"sagan: {error}; not scored", file=sys.stderr)
            return None
        except Exception:
            if must or step in checkpoint.steps(self._workdir):
                raise
            print(f"sagan: step {step} was pruned before it was scored", file=sys.stderr)
            return None
        result = evaluate_step(
            self._evaluator,
            sampler,
            num_images=self._num_images,
            seeds=self._seeds,
            truncation=self._truncation,
        )
        result["own"] = self._own
        if extract.Share.of_this_process().index == 0:
            try:
                publish(self._workdir, result)
            except OSError as error:  # what took hours is shown all the same
                self._unfiled = error
        return result

    def watch(self, timeout_seconds: float) -> list[dict[str, Any]]:
        """Scores steps as they appear, missed ones too, until the run's last step is scored."""
        rows: dict[int, dict[str, Any]] = {}
        gone: set[int] = set()
        news = time.monotonic()
        while True:
            there = checkpoint.steps(self._workdir)
            waiting = [s for s in there if s not in gone and s not in rows and not self.is_done(s)]
            for step in waiting[:1]:  # one at a time: the next look may find others pruned
                result = self.score(step)
                news = time.monotonic()
                if result is None:
                    gone.add(step)
                else:
                    rows[step] = result
                    print(f"sagan: step {step}: {results.scores(result)}", file=sys.stderr)
            if waiting:
                continue
            if there and there[-1] >= checkpoint.read_config(self._workdir).train.steps:
                break
            if time.monotonic() - news > timeout_seconds:
                print(
                    f"sagan: no new checkpoint for {timeout_seconds:g} s; stopped watching",
                    file=sys.stderr,
                )
                break
            time.sleep(min(POLL_SECONDS, timeout_seconds))
        return [rows[step] for step in sorted(rows)]


def publish(workdir: Path, result: Mapping[str, Any]) -> None:
    """Files a result: JSON, TensorBoard events, the plot. One process of a job calls it."""
    for note in results.write(workdir, result):
        print(f"sagan: {note}", file=sys.stderr)
    results.write_events(workdir, result["step"], result["metrics"])
    try:
        results.plot(workdir)
    except Exception as error:  # the scores are filed: a picture ends no training
        print(f"sagan: warning: eval/metrics.png was not drawn: {error}", file=sys.stderr)
