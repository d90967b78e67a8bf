"""Which errors of JAX mean a lack of memory, and which are not explained."""

import pytest
from jax.errors import JaxRuntimeError

from sagan.config.exit_codes import CRASH
from sagan.parallel import device_error

NO_MEMORY = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 123 bytes."


def test_a_lack_of_device_memory_is_explained_also_as_a_cause():
    meaning = device_error.meaning(JaxRuntimeError(NO_MEMORY))
    assert meaning is not None and meaning.status == CRASH
    assert "train.batch_size" in meaning.text and "123 bytes" in meaning.text
    outer = RuntimeError("the step failed")
    outer.__cause__ = JaxRuntimeError(NO_MEMORY)
    assert device_error.meaning(outer) == meaning


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a plain mistake"),
        ValueError(NO_MEMORY),  # how TensorStore reports a full disk
        JaxRuntimeError("UNAVAILABLE: connection reset"),  # this process has no peers
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not(error):
    assert device_error.meaning(error) is None
