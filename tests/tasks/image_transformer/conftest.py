import pytest
from support import tiny_transformer

from sagan import cli


@pytest.fixture(scope="session")
def transformer_run(tmp_path_factory):
    """A work directory with one small trained checkpoint, scored by bits per dimension."""
    path = tmp_path_factory.mktemp("transformer") / "run"
    words = ["train", str(tiny_transformer.FILE), "--workdir", str(path)]
    assert cli.main(words) == 0
    return path
