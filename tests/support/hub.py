"""A stand-in for huggingface_hub: models are folders, as their files are on the Hub."""

import fnmatch
import shutil
import types
from pathlib import Path


class NotThereError(OSError):
    """What the library raises for a model that is not there inherits OSError."""


class UnreachableError(Exception):
    """What the library's network raises inherits Exception alone."""


def stand_in(root: Path) -> types.ModuleType:
    """Returns a module whose models are in `root/USER/NAME`."""

    class HfApi:
        def create_repo(self, *, repo_id, repo_type, exist_ok):
            assert repo_type == "model" and exist_ok
            if repo_id.startswith("others/"):
                raise NotThereError("403: you may not write there")
            if repo_id.startswith("down/"):
                raise UnreachableError("no route")
            (root / repo_id).mkdir(parents=True, exist_ok=True)
            return f"https://huggingface.co/{repo_id}"

        def upload_folder(self, *, repo_id, repo_type, folder_path, commit_message):
            assert repo_type == "model" and commit_message
            shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)

    def snapshot_download(repo_id, *, revision=None, allow_patterns=None):
        if not (root / repo_id).is_dir() or revision not in (None, "main"):
            raise NotThereError(f"404: no {repo_id} at {revision}")
        cache = root / "cache" / repo_id
        cache.mkdir(parents=True, exist_ok=True)
        for file in (root / repo_id).iterdir():
            if any(fnmatch.fnmatch(file.name, pattern) for pattern in allow_patterns):
                shutil.copy(file, cache)
        return str(cache)

    module = types.ModuleType("huggingface_hub")
    module.HfApi, module.snapshot_download = HfApi, snapshot_download
    return module
