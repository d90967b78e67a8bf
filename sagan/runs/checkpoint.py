"""A work directory's config and checkpoints: the only code that knows their format.

A checkpoint holds `state` (all that training needs), `sampler` (the averaged generator with its
recomputed statistics: all that sampling and evaluation need), `about` (JSON), and a manifest that
it is checked against before it is read. Steps are ordered by number, never by time.
"""

import importlib.metadata
import json
import platform
import re
import shutil
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

from sagan.config import CheckpointConfig, Config
from sagan.config import as_json as config_json
from sagan.files.atomic import replace_text
from sagan.runs import manifest

FOLDER = "checkpoints"
COMMITTED = "_CHECKPOINT_METADATA"


class CheckpointError(Exception):
    """No usable checkpoint, or one of another run (exit 4)."""


class DamagedError(CheckpointError):
    """A checkpoint is not what was written."""


class SaveError(Exception):
    """A checkpoint could not be written; those before it are as they were (exit 1)."""


def claim(workdir: Path, config: Config) -> None:
    """Makes `workdir` the run `config`'s, or checks that it is.

    Raises: CheckpointError listing the fields in which the run there differs, or if it is beyond
      `train.steps`; nothing is written then.
    """
    file = workdir / "config.json"
    if file.exists():
        different = config_json.differences(read_config(workdir), config)
        if different:
            raise CheckpointError(
                f"{workdir} holds another run; these fields differ: {'; '.join(different)}"
            )
    there, last = steps(workdir), config.train.steps
    if there and there[-1] > last:
        raise CheckpointError(f"{workdir} is at step {there[-1]}, beyond train.steps={last}")
    workdir.mkdir(parents=True, exist_ok=True)
    replace_text(file, config_json.to_json(config) + "\n")
    packages = ("sagan", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    versions = {name: importlib.metadata.version(name) for name in packages}
    versions["python"] = platform.python_version()
    replace_text(workdir / "versions.json", json.dumps(versions, indent=2) + "\n")


def read_config(workdir: Path) -> Config:
    """Reads `config.json`; nothing found in a work directory is ever executed.

    Raises: CheckpointError if there is none.
    """
    file = workdir / "config.json"
    if not file.is_file():
        raise CheckpointError(f"{workdir} is not a work directory: it has no config.json")
    return config_json.from_json(file.read_text(encoding="utf-8"))


def steps(workdir: Path) -> list[int]:
    """Lists the steps that have a complete checkpoint, in order; anything else is ignored."""
    folder = workdir / FOLDER
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if (path / COMMITTED).is_file()]
    return sorted(int(name) for name in names if re.fullmatch(r"\d+", name))


def pick(workdir: Path, step: int | None) -> int:
    """Gives `step`, or the newest if None, once all that sampling reads of it is seen to be whole.

    A damaged newest one is passed over, aloud; nothing is moved, since a trainer may own it.

    Raises: CheckpointError if it is not there; lists what is. DamagedError if it is damaged.
    """
    there = steps(workdir)
    if not there:
        raise CheckpointError(f"{workdir} has no complete checkpoint")
    if step is not None and step not in there:
        raise CheckpointError(f"{workdir} has no step {step}; it has: {_listed(there)}")
    wrong = ""
    for candidate in reversed(there) if step is None else [step]:
        wrong = damage(workdir, candidate, ["sampler", "about"])
        if not wrong:
            return candidate
        if step is None:
            print(
                f"sagan: step {candidate} of {workdir} is damaged, passed over: {wrong}",
                file=sys.stderr,
            )
    if step is None:
        raise DamagedError(f"{workdir}: every checkpoint is damaged ({_listed(there)})")
    raise DamagedError(f"step {step} of {workdir} is damaged: {wrong}")


def damage(workdir: Path, step: int, items: Sequence[str] | None = None) -> str:
    """Says how a step differs from what was written; empty if it does not."""
    return manifest.damage(workdir / FOLDER / str(step), items)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:20])}{', …' if len(names) > 20 else ''} ({len(names)})"


class Checkpoints:
    """Saves and restores one run's checkpoints; saves go on while training does.

    Args:
      worth: gives the steps to keep beyond the newest ones.
    """

    def __init__(self, workdir: Path, keep: CheckpointConfig):
        self._worth: set[int] = set()
        policies: list[Any] = [policy.LatestN(keep.keep), _KeepWorthy(lambda: self._worth)]
        if keep.keep_every_steps is not None:
            policies.append(policy.EveryNSteps(keep.keep_every_steps))
        self._folder = workdir.absolute() / FOLDER
        self._saving: int | None = None
        self._manager = ocp.CheckpointManager(
            epath.Path(self._folder),
            item_handlers=_handlers(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy.AnyPreservationPolicy(policies),
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
            ),
        )

    def _seal(self) -> None:
        """Adds the manifest; Orbax's thread calls it between the last byte and the commit."""
        (folder,) = self._folder.glob(f"{self._saving}.orbax-checkpoint-tmp*")
        manifest.write(folder)

    def save(
        self,
        step: int,
        state: Any,
        sampler: Any,
        about: dict[str, Any],
        *,
        worth_keeping: Collection[int] = (),
    ) -> None:
        """Starts to write a checkpoint; returns once its arrays are copied.

        Raises: SaveError if it, or the one before, could not be written.
        """
        self.wait()
        self._saving, self._worth = step, set(worth_keeping)
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    sampler=ocp.args.StandardSave(sampler),
                    about=ocp.args.JsonSave(about),
                ),
                force=True,
            )
        except BaseException as error:
            self._saving = None  # `wait` is not to hide what went wrong here
            if isinstance(error, Exception):
                raise self._failure(step, error) from error
            raise

    def restore(self, step: int, abstract: Any) -> Any:
        """Reads the whole state, laid out as `abstract` says, whatever topology it was saved on.

        Raises: CheckpointError if a shape or dtype differs, naming each.
        """
        metadata: Any = self._manager.item_metadata(step)
        saved = metadata.state
        _require_same(saved, abstract)
        restored: Any = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        )
        return restored.state

    def about(self, step: int) -> dict[str, Any]:
        """Reads what was saved beside the arrays."""
        restored: Any = self._manager.restore(
            step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
        )
        return restored.about

    def require_classes(self, step: int, names: Sequence[str]) -> None:
        """Raises: CheckpointError if a step was trained on images of other classes than `names`."""
        saved = self.about(step)["class_names"]
        if list(saved) != list(names):
            raise CheckpointError(
                f"step {step} is of a run on the classes {_few(saved)}; the images are now of "
                f"{_few(names)}: a label would be another class"
            )

    def check(self) -> None:
        """Raises: SaveError if a save has ended badly meanwhile. Costs microseconds."""
        if self._saving is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Returns when the last save is on disk.

        Raises: SaveError if it is not. Orbax itself may say that all is well then.
        """
        step, self._saving, failed = self._saving, self._saving, None
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            failed = error
        self._saving = None
        there = step is None or jax.process_index() != 0 or (self._folder / str(step)).is_dir()
        if failed is not None or not there:
            raise self._failure(step, failed) from failed

    def _failure(self, step: int | None, error: Exception | None) -> SaveError:
        free = shutil.disk_usage(self._folder).free
        earlier = _listed([n for n in steps(self._folder.parent) if n != step])
        why = " ".join(str(error).split())[:500] if error is not None else "it was not committed"
        return SaveError(
            f"step {step} could not be saved in {self._folder}, where {free:,} bytes are free: "
            f"{why}. Steps that are whole: {earlier or 'none'}"
        )

    def close(self) -> None:
        self._manager.close()


def restore_sampler(workdir: Path, step: int, abstract: Any) -> tuple[Any, dict[str, Any]]:
    """Reads what sampling needs from a checkpoint: the generator's variables, and `about`.

    Args:
      step: one that `pick` gave.
    """
    folder = epath.Path(workdir.absolute() / FOLDER)
    with ocp.CheckpointManager(folder, item_handlers=_handlers()) as manager:
        restored = manager.restore(
            step,
            args=ocp.args.Composite(
                sampler=ocp.args.StandardRestore(abstract), about=ocp.args.JsonRestore()
            ),
        )
    return restored.sampler, restored.about


def _handlers() -> dict[str, ocp.CheckpointHandler]:
    standard = ocp.StandardCheckpointHandler
    return {"state": standard(), "sampler": standard(), "about": ocp.JsonCheckpointHandler()}


class _KeepWorthy(policy.PreservationPolicy):
    """Keeps the steps that `worth` names when another is saved."""

    def __init__(self, worth: Callable[[], Collection[int]]):
        self._worth = worth

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: policy.PreservationContext
    ) -> list[bool]:
        del context
        worth = self._worth()
        return [checkpoint.step in worth for checkpoint in checkpoints]


def _require_same(saved: Any, wanted: Any) -> None:
    def describe(tree: Any) -> dict[str, str]:
        leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
        return {_path(path): f"{tuple(leaf.shape)} {leaf.dtype}" for path, leaf in leaves}

    old, new = describe(saved), describe(wanted)
    different = [
        f"{key}: saved {old.get(key, 'nothing')}, wanted {new.get(key, 'nothing')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if different:
        shown = "; ".join(different[:8]) + ("; …" if len(different) > 8 else "")
        raise CheckpointError(f"the checkpoint does not fit the model: {shown}")


def _path(path: Sequence[Any]) -> str:
    """Names a leaf alike whether a level is a tuple, a named tuple or a dict."""
    parts = [getattr(p, "name", getattr(p, "key", getattr(p, "idx", p))) for p in path]
    return ".".join(str(part) for part in parts)
