import pytest

from sagan import cli


@pytest.fixture(scope="session")
def workdir(tmp_path_factory):
    """A work directory with one small trained checkpoint, whose generator is SAGAN's."""
    path = tmp_path_factory.mktemp("sampled") / "run"
    words = ["train", "debug", "model.name=support.half_sagan", "train.steps=2",
             "checkpoint.every_steps=2", "optim.ema_decay=0.5", "sample.every_steps=0",
             "optim.g_learning_rate=1e-3",  # large, so that classes differ after two steps
             "--workdir", str(path)]  # fmt: skip
    assert cli.main(words) == 0
    return path
