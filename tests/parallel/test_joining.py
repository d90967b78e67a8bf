"""Which job a process joins: the environment, a cluster that JAX knows, or none."""

import jax
import pytest

from sagan.config import ConfigError
from sagan.parallel import joining

VARIABLES = (joining.COORDINATOR, joining.NUM_PROCESSES, joining.PROCESS_ID)


@pytest.fixture
def joined(monkeypatch):
    """Records what JAX is told, instead of joining: this process's devices are in use."""
    told = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *job, **options: told.append(job))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return told


def test_a_process_alone_needs_nothing(joined):
    joining.initialize()
    ((address, count, number, _),) = joined
    assert address.startswith("127.0.0.1:") and (count, number) == (1, 0)
    assert not joining.has_peers()


def test_a_cluster_that_jax_detects_is_joined(joined, monkeypatch):
    for name, value in {
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NODELIST": "node3",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NTASKS": "1",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    joining.initialize()
    ((address, count, number, _),) = joined
    assert address.startswith("node3:") and (count, number) == (1, 0)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (("h:1", "2", None), [joining.PROCESS_ID]),
        (("h:1", "two", "0"), [joining.NUM_PROCESSES, "two"]),
        (("h:1", "2", "2"), [joining.PROCESS_ID, "2"]),
    ],
)
def test_a_job_that_is_badly_described_is_refused(joined, monkeypatch, values, named):
    for name, value in zip(VARIABLES, values, strict=True):
        if value is not None:
            monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as error:
        joining.initialize()
    assert all(text in str(error.value) for text in named) and joined == []
