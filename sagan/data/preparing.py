"""Prepares a data set of tensorflow-datasets so that `data.name=tfds/NAME` can read it.

Preparing needs TensorFlow for all sets that tensorflow-datasets defines; reading does not.
"""

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from sagan.config import ConfigError
from sagan.config.exit_codes import CRASH, Failure
from sagan.config.fields import closest
from sagan.data.sources.tfds import folder_of, tfds


class PrepareError(Failure):
    """A data set could not be downloaded or written."""

    exit_code = CRASH


def prepare(name: str, data_dir: str | None) -> Path:
    """Downloads and writes a data set as `array_record`; returns its folder.

    Nothing is done if it is there already.

    Args:
      name: of a data set, or of a data set and its variant, such as `imagenet_resized/64x64`; or of
        a module of yours that defines the builder of this name.
      data_dir: where the sets are; None: tensorflow-datasets' usual folder.

    Raises:
      ConfigError: there is no such set, TensorFlow or a file that one must download by hand is
        missing, or it was prepared in another format there.
      PrepareError: it could not be downloaded or written.
    """
    root = folder_of(data_dir)
    builder = _builder(name, root)
    if builder.data_path.exists():
        return Path(builder.data_path)
    by_hand = root / "downloads" / "manual"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and not (by_hand.is_dir() and any(by_hand.iterdir())):
        what = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        raise ConfigError(f"{name} must be downloaded by hand into {by_hand}: {what}")
    is_ours = not type(builder).__module__.startswith("tensorflow_datasets.")
    if not is_ours and importlib.util.find_spec("tensorflow") is None:
        raise _needs_tensorflow(name)
    try:
        builder.download_and_prepare()
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise _needs_tensorflow(name) from error
    except OSError as error:
        raise PrepareError(f"{name} could not be downloaded to {root}: {error}") from error
    return Path(builder.data_path)


def _builder(name: str, root: Path) -> Any:
    known = tfds().list_builders(with_community_datasets=False)
    if name.partition("/")[0] not in known:
        if not importlib.util.find_spec(name.partition("/")[0]):
            raise ConfigError(
                f"tensorflow-datasets has no {name!r}{closest(name.partition('/')[0], known)}; "
                "allowed: a name of https://www.tensorflow.org/datasets/catalog, or a module of "
                "yours that defines a builder"
            )
        importlib.import_module(name.partition("/")[0])
    try:
        return tfds().builder(name, data_dir=root, file_format="array_record")
    except ValueError as error:  # such as a variant that there is not, or another format
        raise ConfigError(f"{name} in {root}: {' '.join(str(error).split())}") from error


def _needs_tensorflow(name: str) -> ConfigError:
    return ConfigError(
        f"preparing {name} needs TensorFlow, which is not installed: pip install tensorflow. "
        "Training does not need it, so this can be done elsewhere and the folder copied"
    )
