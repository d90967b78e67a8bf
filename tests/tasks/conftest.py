import pytest

from sagan import cli


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    """A work directory with one small trained checkpoint."""
    path = tmp_path_factory.mktemp("sampled") / "run"
    words = ["train", "debug", "train.steps=2", "checkpoint.every_steps=2", "optim.ema_decay=0.5",
             "sample.every_steps=0", "--workdir", str(path)]  # fmt: skip
    assert cli.main(words) == 0
    return path
