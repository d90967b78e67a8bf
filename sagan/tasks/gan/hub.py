"""Generators on the Hugging Face Hub: what `sagan export --format safetensors` writes, as a model.

Needs huggingface_hub (`pip install "sagan[hub]"`), whose login and cache are used.
"""

import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sagan.config import ConfigError, plugins
from sagan.config.fields import require
from sagan.tasks.gan import export
from sagan.tasks.gan.sampler import Sampler

PREFIX = "hf://"


def parse(url: str) -> tuple[str, str | None]:
    """Returns repository and revision (None: the newest) of `hf://USER/NAME` or `…@REVISION`.

    Raises: ConfigError if it is neither.
    """
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", url)
    if found is None:
        raise ConfigError(f"{url!r}; allowed: hf://USER/NAME, or hf://USER/NAME@REVISION")
    return found[1], found[2]


def repository_to_write(url: str) -> str:
    """Returns the repository of an address that a generator can be published at.

    Raises: ConfigError if it is none or has a revision, or huggingface_hub is missing.
    """
    name, revision = parse(url)
    require(revision is None, f"{url!r} has a revision; allowed: hf://USER/NAME")
    _library()
    return name


def publish(sampler: Sampler, url: str, results: Mapping[str, Any] | None = None) -> str:
    """Uploads a generator with its README, and returns the page's address.

    The model is made if it is not there; files that it has of the same names are replaced.

    Args:
      results: as for `export.write`.

    Raises: ConfigError as `repository_to_write`, or if the Hub refuses.
    """
    name = repository_to_write(url)
    api = _library().HfApi()
    with tempfile.TemporaryDirectory() as folder:
        export.write(sampler, Path(folder), "safetensors", results, use=f"{PREFIX}{name}")
        try:
            made = api.create_repo(repo_id=name, repo_type="model", exist_ok=True)
            api.upload_folder(
                repo_id=name,
                repo_type="model",
                folder_path=folder,
                commit_message=f"{sampler.config.name}, step {sampler.step}",
            )
        except Exception as error:  # the library's errors and its network's have no common type
            raise ConfigError(f"{url} could not be written: {error}") from error
    return str(made)


def load(url: str) -> Sampler:
    """Downloads a generator, or finds it in the library's cache, and opens it.

    Raises: ConfigError if there is no such model, it is no generator of this package, or its
      networks are of a module that was not imported.
    """
    name, revision = parse(url)
    library = _library()
    files = [export.WEIGHTS, export.ABOUT, "config.json"]
    try:
        folder = library.snapshot_download(name, revision=revision, allow_patterns=files)
    except Exception as error:  # as in `publish`
        raise ConfigError(f"{url} could not be read: {error}") from error
    _require_known_networks(Path(folder) / "config.json", url)
    return export.load(Path(folder))


def _require_known_networks(path: Path, url: str) -> None:
    """Raises: ConfigError if a config names a module to import, which a stranger must not choose.

    Networks of a module that this process has imported already are allowed.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        named = {"tasks": found.get("task", "gan"), "models": found["model"].get("name", "sagan")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # `export.load` says what is wrong with it
    for kind, name in named.items():
        require(
            str(name) in (*plugins.names(kind), *sys.modules),
            f"{url} needs the module {name!r}, which is not this package's; if you trust it, "
            "import it first",
        )


def _library() -> Any:
    try:
        import huggingface_hub  # type: ignore[import-not-found]
    except ImportError as error:
        raise ConfigError('hf:// needs huggingface_hub: pip install "sagan[hub]"') from error
    return huggingface_hub
