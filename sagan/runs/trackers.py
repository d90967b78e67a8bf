"""Where scalars and sheets of samples go beside the work directory: one class for each tracker.

`log.trackers` names rows of `TRACKERS`. Each but TensorBoard is a package of its own, an optional
extra of this one.
"""

import dataclasses
import importlib.util
import io
import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from sagan.config import Config, ConfigError, plugins
from sagan.config.fields import require
from sagan.files.atomic import replace_text

_ID_FILE = "trackers.json"
_PROJECT = "sagan"


@runtime_checkable
class Tracker(Protocol):
    """Shows a run while it trains. Steps may go back once: where a run has resumed."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...

    def picture(self, step: int, picture: UInt8[np.ndarray, "H W 3"]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in `events/`. TensorBoard drops the steps that a resumed run takes again."""

    def __init__(self, workdir: Path, config: Config, step: int):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # type: ignore
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        del config
        self._events = EventFileWriter(str(workdir / "events"))
        restart = SessionLog(status=SessionLog.START)
        self._events.add_event(Event(wall_time=time.time(), step=step, session_log=restart))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        write_events(self._events, step, values)

    def picture(self, step: int, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore

        file = io.BytesIO()
        Image.fromarray(picture).save(file, format="PNG")
        height, width, colours = picture.shape
        image = Summary.Image(
            height=height, width=width, colorspace=colours, encoded_image_string=file.getvalue()
        )
        _add(self._events, step, [Summary.Value(tag="samples", image=image)])

    def close(self) -> None:
        self._events.close()


class Wandb:
    """Weights & Biases. The project is `$WANDB_PROJECT`, or `sagan`."""

    def __init__(self, workdir: Path, config: Config, step: int):
        import wandb  # type: ignore

        del step  # rows have their step, so that a run may resume at an earlier one
        self._image = wandb.Image
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT") or _PROJECT,
            name=config.name,
            id=_id(workdir),
            resume="allow",
            dir=str(workdir),
            config=dataclasses.asdict(config),
        )
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": step, **values})

    def picture(self, step: int, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        self._run.log({"step": step, "samples": self._image(picture)})

    def close(self) -> None:
        self._run.finish()


class Trackio:
    """Trackio, whose data stay on this machine unless its own variables say otherwise."""

    def __init__(self, workdir: Path, config: Config, step: int):
        import trackio  # type: ignore

        del step
        self._image = trackio.Image
        self._run = trackio.init(
            project=_PROJECT,
            name=f"{config.name}-{_id(workdir)}",
            resume="allow",
            config=json.loads(json.dumps(dataclasses.asdict(config))),  # lists for tuples
        )

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def picture(self, step: int, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        self._run.log({"samples": self._image(picture)}, step=step)

    def close(self) -> None:
        self._run.finish()


class Row(NamedTuple):
    """How a tracker is opened, and the package that it needs, which is also the extra's name."""

    open: Callable[[Path, Config, int], Tracker]
    package: str


TRACKERS: Mapping[str, Row] = {
    "tensorboard": Row(TensorBoard, "tensorboard"),
    "wandb": Row(Wandb, "wandb"),
    "trackio": Row(Trackio, "trackio"),
}


def check(names: Sequence[str]) -> None:
    """Raises: ConfigError for a tracker that is not known, or whose package is not installed."""
    for name in names:
        row = plugins.row(TRACKERS, name, field="log.trackers", needs=("open",))
        require(
            importlib.util.find_spec(row.package) is not None,
            f"log.trackers={name}: the package {row.package} is not installed; "
            f"pip install 'sagan[{row.package}]'",
        )


def start(workdir: Path, config: Config, step: int) -> list[Tracker]:
    """Opens what `log.trackers` names; all are closed again if one cannot be opened.

    Args:
      step: the run continues from here.

    Raises: ConfigError if a tracker does not start, such as for want of an account; OSError.
    """
    opened: list[Tracker] = []
    for name in config.log.trackers:
        try:
            opened.append(TRACKERS[name].open(workdir, config, step))
        except Exception as error:
            for tracker in opened:
                tracker.close()
            if isinstance(error, OSError):  # of the disk or the network; the next start may succeed
                raise
            raise ConfigError(f"log.trackers: {name} does not start: {error}") from error
    return opened


def write_events(events: Any, step: int, values: Mapping[str, float]) -> None:
    """Adds scalars to an open `EventFileWriter` of TensorBoard."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore

    _add(events, step, [Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()])


def _add(events: Any, step: int, items: list[Any]) -> None:
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore

    events.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=items)))
    events.flush()


def _id(workdir: Path) -> str:
    """Returns what trackers know this run by, also after it was resumed or moved."""
    path = workdir / _ID_FILE
    if not path.is_file():
        replace_text(path, json.dumps({"id": secrets.token_hex(4)}) + "\n")
    return json.loads(path.read_text(encoding="utf-8"))["id"]
