"""A work directory's config and checkpoints: the only code that knows their format.

A checkpoint holds `state` (everything that training needs), `sampler` (everything that sampling
and scoring need), `about` (JSON), and a manifest that its files are compared with before they are
read. The newest checkpoint is the one with the highest step; times of files do not matter.
"""

import re
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

import jax
import orbax.checkpoint as ocp
from etils import epath

from sagan.config import CheckpointConfig, Config
from sagan.config import as_json as config_json
from sagan.config.exit_codes import CRASH, NO_CHECKPOINT, Failure
from sagan.files import places
from sagan.files.atomic import replace_text
from sagan.parallel.processes import is_main
from sagan.runs import keeping, layout, manifest, versions
from sagan.runs.names import like

FOLDER = "checkpoints"


class CheckpointError(Failure):
    """There is no usable checkpoint, or the work directory holds another run."""

    exit_code = NO_CHECKPOINT


class DamagedError(CheckpointError):
    """The files of a checkpoint are not as they were written."""


class SaveError(Failure):
    """A checkpoint could not be written; earlier ones are unharmed."""

    exit_code = CRASH


def claim(workdir: Path, config: Config) -> None:
    """Makes `workdir` the work directory of `config`, or checks that it already is.

    Raises: CheckpointError if it holds another run or is beyond `train.steps`; writes nothing then.
    """
    file = workdir / "config.json"
    if file.exists():
        different = config_json.differences(read_config(workdir), config)
        if different:
            raise CheckpointError(
                f"{workdir} holds another run; these fields differ: {'; '.join(different)}. Give "
                "another --workdir, or the settings of that run"
            )
    there, last = steps(workdir), config.train.steps
    if there and there[-1] > last:
        raise CheckpointError(
            f"{workdir} is at step {there[-1]} > train.steps={last}; raise it, or change --workdir"
        )
    workdir.mkdir(parents=True, exist_ok=True)
    replace_text(file, config_json.to_json(config) + "\n")
    if not there:  # a resumed run writes it later: an error in restoring names the old version
        versions.write(workdir)


def read_config(workdir: Path) -> Config:
    """Reads `config.json`. Nothing in a work directory is ever executed.

    Raises: CheckpointError if there is no such file; names a work directory with a name like it.
    """
    file = places.local(workdir) / "config.json"
    if not file.is_file():
        raise CheckpointError(
            f"{workdir} is not a work directory: it has no config.json{like(workdir)}"
        )
    return config_json.from_json(file.read_text(encoding="utf-8"))


def steps(workdir: Path) -> list[int]:
    """Lists the steps with a complete checkpoint, in order."""
    folder = workdir / FOLDER
    if not folder.is_dir():
        return []
    names = [path.name for path in folder.iterdir() if (path / manifest.COMMITTED).is_file()]
    return sorted(int(name) for name in names if re.fullmatch(r"\d+", name))


def pick(workdir: Path, step: int | None, items: Sequence[str] = ("sampler", "about")) -> int:
    """Returns `step`, after checking that what will be read of it is undamaged.

    Args:
      step: None: the newest undamaged step. Damaged ones are reported on stderr, not moved, since
        a trainer may own the work directory.
      items: what will be read. The default is what sampling reads.

    Raises: CheckpointError if there is no such step (lists those there are); DamagedError if it,
      or every step, is damaged.
    """
    there = steps(workdir)
    if not there:
        raise CheckpointError(f"{workdir} has no complete checkpoint")
    if step is not None and step not in there:
        raise CheckpointError(f"{workdir} has no step {step}; it has: {_listed(there)}")
    for candidate in reversed(there) if step is None else [step]:
        wrong = damage(workdir, candidate, items)
        if not wrong:
            return candidate
        text = f"step {candidate} of {workdir} is damaged: {wrong}"
        if step is not None:
            raise DamagedError(text)
        print(f"sagan: {text}; it is not used", file=sys.stderr)
    raise DamagedError(f"{workdir}: every checkpoint is damaged ({_listed(there)})")


def damage(workdir: Path, step: int, items: Sequence[str] | None = None) -> str:
    """Describes how the files of a step differ from what was written; empty if they do not."""
    return manifest.damage(workdir / FOLDER / str(step), items)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:20])}{', …' if len(names) > 20 else ''} ({len(names)})"


class Checkpoints:
    """Saves and restores one run's checkpoints. Files are written while training continues."""

    def __init__(self, workdir: Path, config: CheckpointConfig):
        self._worthy = keeping.KeepWorthy()
        self._workdir, self._folder = workdir, workdir.absolute() / FOLDER
        self._saving: int | None = None
        self._manager = ocp.CheckpointManager(
            epath.Path(self._folder),
            item_handlers=_handlers(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keeping.policy_of(config, self._worthy),
                cleanup_tmp_directories=True,
                enable_async_checkpointing=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
            ),
        )

    def _seal(self) -> None:
        """Writes the manifest. Orbax's thread calls this after the last byte, before the commit."""
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
        """Starts to write a checkpoint; returns as soon as its arrays are copied.

        Args:
          worth_keeping: steps that are not removed now, beside those that the config keeps.

        Raises: SaveError if this checkpoint, or the one before, could not be written.
        """
        self.wait()
        self._saving, self._worthy.steps = step, frozenset(worth_keeping)
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
            self._saving = None  # so that `wait` does not report another error
            if isinstance(error, Exception):
                raise self._failure(step, error) from error
            raise

    def restore(self, step: int, abstract: Any) -> Any:
        """Reads the whole state, whatever topology it was saved on.

        Args:
          abstract: shapes, dtypes and shardings of the state.

        Raises: CheckpointError if arrays differ in name, shape or dtype, naming the first ones;
          or if another version of this package has written the state with another layout.
        """
        metadata: Any = self._manager.item_metadata(step)
        saved, wanted = layout.top_level(metadata.state), layout.top_level(abstract)
        if saved != wanted:
            raise CheckpointError(
                f"the state of step {step} in {self._workdir} holds {', '.join(saved)}; this "
                f"version needs {', '.join(wanted)}. Resume it with the version that wrote it "
                f"(sagan {versions.of_sagan(self._workdir)}, from {versions.NAME}); this version "
                "can still sample and score it"
            )
        different = layout.differences(metadata.state, abstract)
        if different:
            raise CheckpointError(f"the checkpoint does not fit the model: {different}")
        restored: Any = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        )
        if is_main():
            versions.write(self._workdir)
        return restored.state

    def about(self, step: int) -> dict[str, Any]:
        """Reads the JSON that was saved beside the arrays."""
        restored: Any = self._manager.restore(
            step, args=ocp.args.Composite(about=ocp.args.JsonRestore())
        )
        return restored.about

    def require_classes(self, step: int, names: Sequence[str]) -> None:
        """Raises: CheckpointError if a step was trained on other classes than `names`."""
        saved = self.about(step)["class_names"]
        if [normalize("NFC", name) for name in saved] != [normalize("NFC", name) for name in names]:
            raise CheckpointError(
                f"step {step} was trained on the classes {_few(saved)}; the images now have the "
                f"classes {_few(names)}"
            )

    def check(self) -> None:
        """Raises: SaveError if the background save has failed. Does not wait."""
        if self._saving is not None and not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits until the last save is on disk.

        Raises: SaveError if it failed; Orbax does not report every failure itself.
        """
        step, failed = self._saving, None
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            failed = error
        self._saving = None
        there = step is None or not is_main() or (self._folder / str(step)).is_dir()
        if failed is not None or not there:
            raise self._failure(step, failed) from failed

    def _failure(self, step: int | None, error: Exception | None) -> SaveError:
        free = shutil.disk_usage(self._folder).free
        earlier = _listed([n for n in steps(self._folder.parent) if n != step])
        why = " ".join(str(error).split())[:500] if error is not None else "it was not committed"
        return SaveError(
            f"step {step} could not be saved in {self._folder}, where {free:,} bytes are free: "
            f"{why}. Complete earlier steps: {earlier or 'none'}"
        )

    def close(self) -> None:
        self._manager.close()


def restore_sampler(workdir: Path, step: int, abstract: Any) -> tuple[Any, dict[str, Any]]:
    """Reads what sampling needs from a checkpoint: the variables, and `about`.

    Args:
      step: as returned by `pick`.
      abstract: shapes, dtypes and shardings of the variables.
    """
    sampler, about = ocp.args.StandardRestore(abstract), ocp.args.JsonRestore()
    folder = epath.Path(workdir.absolute() / FOLDER)
    with ocp.CheckpointManager(folder, item_handlers=_handlers()) as manager:
        restored: Any = manager.restore(step, args=ocp.args.Composite(sampler=sampler, about=about))
    return restored.sampler, restored.about


def restore_state(workdir: Path, step: int, sharding: Any) -> Any:
    """Reads all of a checkpoint's state, as nested dicts and lists of arrays with a sharding."""
    folder = epath.Path(workdir.absolute() / FOLDER)
    with ocp.CheckpointManager(folder, item_handlers=_handlers()) as manager:
        metadata: Any = manager.item_metadata(step)
        abstract = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            metadata.state,
        )
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        return manager.restore(step, args=args).state


def _handlers() -> dict[str, ocp.CheckpointHandler]:
    standard = ocp.StandardCheckpointHandler
    return {"state": standard(), "sampler": standard(), "about": ocp.JsonCheckpointHandler()}
