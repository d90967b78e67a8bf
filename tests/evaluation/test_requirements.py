"""Which classes may be compared with which."""

import pytest

from sagan.config import ConfigError
from sagan.evaluation.requirements import require_same_numbers


def test_classes_that_are_only_numbered_fit_as_many_others():
    require_same_numbers("the data", ["cat", "dog"], ["0", "1"])
    require_same_numbers("the data", ["0", "1"], ["cat", "dog"])
    for names in (["0"], ["0", "1", "2"], ["dog", "cat"]):
        with pytest.raises(ConfigError):
            require_same_numbers("the data", names, ["cat", "dog"])
    with pytest.raises(ConfigError):
        require_same_numbers("the data", ["cat", "dog", "eel"], ["0", "1"])
