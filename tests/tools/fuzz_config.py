"""Any overrides, JSON or tree must give a config that survives JSON, or a ConfigError.

Run: python tests/tools/fuzz_config.py --examples 2000. It runs in its own process, because the type
checks that the test session adds to every dataclass would be reached before the package's own.
"""

import argparse
import dataclasses
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from sagan.config import Config, ConfigError, presets
from sagan.config import as_json as config_json
from sagan.config.fields import build

KEYS = [key for key, _ in config_json.leaves(Config())]
VALUES = dict(config_json.leaves(Config()))
ODD = st.sampled_from(
    ["", "nan", "inf", "-inf", "1e999", "-0", "0", "1", "-1", "1_0", "٣", "9" * 4000, "9" * 5000,
     "1e-400", "none", "null", "true", "()", "(,)", "8,16", "8,none", "[1]", "\0", "\ud800", "a/b",
     "..", "data", "pmap", "0x10", "1e5", " 7 ", "7\n", "=", "a=b"]
)  # fmt: skip
TEXT = ODD | st.text(max_size=20) | st.integers().map(str) | st.floats().map(str)
ASSIGNMENT = st.builds("{}={}".format, st.sampled_from(KEYS) | st.text(max_size=12), TEXT)
SCALAR = (
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.just(10**400)
    | st.sampled_from([value for value in VALUES.values() if value is not None])
)  # fmt: skip
TREE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)
)


@st.composite
def nearly_configs(draw):
    """A config as nested dicts, with some fields replaced, renamed or dropped."""
    tree = dataclasses.asdict(Config())
    for key in draw(st.lists(st.sampled_from(KEYS), max_size=3)):
        section, _, name = key.rpartition(".")
        place = tree.get(section, {}) if section else tree
        if not isinstance(place, dict):
            continue
        action = draw(st.sampled_from(["replace", "replace", "replace", "rename", "drop"]))
        if action == "replace":
            place[name] = draw(TREE)
        else:
            value = place.pop(name, None)
            if action == "rename":
                place[draw(TEXT)] = value
    if draw(st.integers(0, 9)) == 0:
        tree[draw(st.sampled_from(list(tree)))] = draw(TREE)
    return tree


def survives(make):
    """Calls `make`: a config must survive JSON unchanged, and only ConfigError may be raised."""
    try:
        config = make()
    except ConfigError as error:
        assert str(error)
        return
    text = config_json.to_json(config)
    json.loads(text, parse_constant=lambda name: 1 / 0)  # NaN and Infinity are not JSON
    assert config_json.from_json(text) == config
    assert config_json.differences(config, config) == []


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--examples", type=int, default=2000, help="of each kind")
    number = parser.parse_args().examples
    many = settings(max_examples=number, deadline=None, database=None, derandomize=True)

    @many
    @given(st.lists(ASSIGNMENT | TEXT, max_size=4))
    def overrides(texts):
        survives(lambda: presets.override(Config(), texts))

    @many
    @given(
        nearly_configs().map(json.dumps) | TREE.map(json.dumps) | st.text() | st.just("[" * 10**5)
    )
    def files(text):
        survives(lambda: config_json.from_json(text))

    @many
    @given(nearly_configs() | TREE | st.dictionaries(st.integers() | TEXT, TREE, max_size=2))
    def trees(tree):
        survives(lambda: build(Config, tree))

    for check in (overrides, files, trees):
        check()
        print(f"{check.__name__}: {number} examples")


if __name__ == "__main__":
    main()
