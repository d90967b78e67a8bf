"""Presets, overrides and JSON: what is accepted, and what the error of a mistake names."""

import dataclasses
import json
import subprocess
import sys

import pytest

from sagan.config import Config, ConfigError, as_json, make, plugins, preset, presets, replace
from sagan.config.schedules import Schedule
from sagan.config.training import Term, term


def error_of(function, *arguments, **named):
    with pytest.raises(ConfigError) as error:
        function(*arguments, **named)
    return str(error.value)


@pytest.mark.parametrize("name", presets.preset_names())
def test_every_preset_survives_json_and_fits_its_networks(name):
    config = presets.load(name)
    assert as_json.from_json(as_json.to_json(config)) == config
    assert config.name == name
    family = plugins.load("models", config.model.name, field="model.name")
    assert type(config.model) is family.Config
    classes = 5 if config.model.num_classes == "data" else config.model.num_classes
    family.check(dataclasses.replace(config.model, num_classes=classes))


@pytest.mark.parametrize("name", presets.preset_names())
def test_every_preset_tells_how_to_run_it(name):
    text = (presets.preset_folder() / f"{name}.py").read_text()
    for word in ("Run: sagan train", "Hardware:", "Expect:"):
        assert word in text.split('"""')[1]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("seed=7", "seed", 7),
        ("model.attention=8,16", "model.attention", (8, 16)),
        ("model.attention=none", "model.attention", ()),
        ("model.attention=()", "model.attention", ()),
        ("model.attention_d=none", "model.attention_d", None),
        ("model.num_classes=none", "model.num_classes", None),
        ("model.num_classes=data", "model.num_classes", "data"),
        ("data.flip=true", "data.flip", True),
        ("optim.beta1=0.5", "optim.beta1", 0.5),
        ("optim.beta2=linear:0.9:0.99:1e6", "optim.beta2", "linear:0.9:0.99:1e6"),
        ("optim.g_learning_rate=linear:1e-4:0:5", "optim.g_learning_rate", "linear:1e-4:0:5"),
        ("train.penalties=r1=10,m:f=0.5", "train.penalties", ("r1=10", "m:f=0.5")),
        ("data.dir=/a=b", "data.dir", "/a=b"),
        ("train.parallel=pmap", "train.parallel", "pmap"),
        ("train.steps_per_dispatch=7", "train.steps_per_dispatch", 7),
    ],
)
def test_overrides(text, key, value):
    assert dict(as_json.leaves(presets.override(Config(), [text])))[key] == value


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("train.lr=1", ["train.lr", "steps", "batch_size"]),
        ("trian.steps=1", ["trian.steps", "train.steps"]),
        ("train=1", ["train"]),
        ("train.steps.x=1", ["train.steps.x"]),
        ("train.steps", ["train.steps", "section.field=value"]),
        ("train.steps=1.5", ["train.steps", "1.5", "int"]),
        ("train.steps=0", ["train.steps=0", ">= 1"]),
        ("data.flip=maybe", ["data.flip", "maybe", "bool"]),
        ("model.dtype=half", ["model.dtype", "half", "float32", "bfloat16"]),
        ("model.attention=a,b", ["model.attention", "int"]),
        ("model.atention=8", ["model.atention", "did you mean attention", "z_dim"]),
        ("model.name=sagn", ["model.name", "sagn", "did you mean sagan"]),
        ("optim.beta2=1", ["optim.beta2=1", ">= 0", "< 1"]),
        ("optim.beta2=linear:0.9:1:5", ["optim.beta2", "1.0", "< 1"]),
        ("optim.beta2=square:0:0:5", ["optim.beta2", "square", "linear", "cosine"]),
        ("optim.ema_decay=cosine:0:0.9", ["optim.ema_decay", "START:END:IMAGES"]),
        ("optim.ema_decay=cosine:0:0.9:0", ["optim.ema_decay", ">= 1"]),
        ("train.penalties=r1", ["train.penalties", "r1", "NAME=WEIGHT"]),
        ("train.penalties=r1=-1", ["train.penalties", "-1", ">= 0"]),
        ("train.accumulate_steps=3", ["train.batch_size=64", "train.accumulate_steps=3"]),
        ("checkpoint.keep_every_steps=0", ["checkpoint.keep_every_steps=0", ">= 1"]),
        ("seed=-1", ["seed=-1", ">= 0"]),
        ("name=a/b", ["name", "a/b"]),
    ],
)
def test_errors_name_what_was_got_and_what_is_allowed(text, facts):
    message = error_of(presets.override, Config(), [text])
    assert all(fact in message for fact in facts), message


def test_penalties_have_a_weight_or_a_schedule():
    assert term("r1=10", "penalties") == Term("r1", 10.0)
    lazy = term("m:f=cosine:2:0.2:2e7@16", "penalties")
    assert lazy == Term("m:f", Schedule("cosine", 2.0, 0.2, 2e7), 16)


def test_the_best_checkpoint_is_chosen_by_a_score_that_is_measured():
    words = ["eval.metrics=is", "eval.every_steps=1000"]
    message = error_of(presets.override, Config(), words)
    assert "eval.best_metric" in message and "fid" in message and "is" in message
    presets.override(Config(), [*words, "eval.best_metric=is"])
    presets.override(Config(), words[:1])  # without scores while training there is no best


def test_another_family_keeps_the_fields_that_it_has_too():
    config = replace(preset("digits"), model={"z_dim": 5})
    other = presets.override(config, ["model.name=support.dense_pair", "model.d_channels=3"])
    family = plugins.load("models", "support.dense_pair", field="model.name")
    assert other.model == family.Config(
        name="support.dense_pair",
        image_size=8,
        num_classes=10,
        z_dim=5,
        g_channels=16,
        d_channels=3,
    )
    assert "model.attention" in error_of(presets.override, other, ["model.attention=8"])
    changed = as_json.differences(config, other)
    assert {line.split(":")[0] for line in changed} >= {"model.name", "model.attention"}
    assert as_json.from_json(as_json.to_json(other)) == other


def test_make_and_replace():
    config = make(name="x", model={"image_size": 8, "attention": [8]}, train={"steps": 3})
    assert (config.name, config.model.image_size, config.train.steps) == ("x", 8, 3)
    assert config.model.attention == (8,)
    changed = replace(config, seed=1, train={"batch_size": 2})
    assert (changed.seed, changed.train.steps, changed.train.batch_size) == (1, 3, 2)
    assert "train.stepz" in error_of(replace, config, train={"stepz": 1})
    assert "trian" in error_of(make, trian={})


def test_wrong_types_from_python_and_json_are_refused():
    """In a process of its own, because the type checks of the test session would come first."""
    code = (
        "from sagan import config as c; from sagan.config import as_json\n"
        "json = '{\"seed\": []}'\n"
        "wrong = lambda: c.TrainConfig(batch_size='64'), lambda: as_json.from_json(json)\n"
        "for make in wrong:\n"
        "    try: make()\n"
        "    except c.ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert "train.batch_size='64'" in first and "seed=()" in second


def test_importing_the_config_imports_no_jax():
    code = "import sys, sagan.config; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_presets_and_broken_files(tmp_path):
    message = error_of(presets.load, "digit")
    assert "'digit'" in message and "did you mean digits" in message and "cifar10" in message
    assert "nowhere.py" in error_of(presets.load, "nowhere.py")
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config():\n    return 1 / 0\n")
    message = error_of(presets.load, str(broken))
    assert "broken.py" in message and "ZeroDivisionError" in message


def test_differences_name_what_makes_another_run():
    saved = Config()
    same = presets.override(saved, ["train.steps=5", "log.every_steps=7", "data.dir=x"])
    assert as_json.differences(saved, same) == []
    other = presets.override(saved, ["train.batch_size=32", "seed=1"])
    assert as_json.differences(saved, other) == ["seed: 0 -> 1", "train.batch_size: 64 -> 32"]


def test_a_config_of_an_earlier_version_is_upgraded():
    data = json.loads(as_json.to_json(preset("debug")))
    del data["task"], data["train"]["penalties"]
    data["train"] |= {"penalty": "none", "penalty_weight": 10.0}
    data["optim"]["linear_decay_steps"] = None
    assert as_json.from_json(json.dumps(data)) == preset("debug")
    data["train"] |= {"penalty": "r1", "d_steps_per_g_step": 5}
    data["optim"]["linear_decay_steps"] = 100
    found = as_json.from_json(json.dumps(data))
    assert found.train.penalties == ("r1=10.0",)
    images = 100 * 16 * 5
    assert found.optim.g_learning_rate == f"linear:0.0001:0:{images}"
    assert found.optim.d_learning_rate == f"linear:0.0004:0:{images}"


@pytest.mark.parametrize(
    ("text", "fact"), [("{", "JSON"), ('{"sead": 1}', "sead"), ("[]", "object"), ("3", "object")]
)
def test_json_that_is_no_config(text, fact):
    assert fact in error_of(as_json.from_json, text)


def test_the_page_of_config_fields_is_current():
    from tools import write_config_docs

    text = write_config_docs.text()
    assert write_config_docs.FILE.read_text() == text
    assert all(key in text for key, _ in as_json.leaves(Config()))


@pytest.fixture
def own_task(tmp_path, monkeypatch):
    """Makes a module of a task with one own field in the section `train`."""
    (tmp_path / "own_task.py").write_text(
        "import dataclasses\n"
        "from sagan import config\n"
        "@dataclasses.dataclass(frozen=True, kw_only=True)\n"
        "class TrainConfig(config.TrainConfig):\n"
        "    dropout: float = 0.25\n"
        "def check(config): ...\n"
        "def build(config, num_devices): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_task"
    sys.modules.pop("own_task", None)


def test_a_task_brings_its_own_sections(own_task):
    made = make(task=own_task, train={"steps": 3})
    assert made.train.dropout == 0.25 and not hasattr(made.train, "loss")
    assert not hasattr(made.optim, "g_learning_rate")
    assert as_json.from_json(as_json.to_json(made)) == made
    again = presets.override(made, ["train.dropout=0.5"])
    assert (again.train.dropout, again.train.steps) == (0.5, 3)
    assert "train.loss" in error_of(presets.override, made, ["train.loss=hinge"])
    assert "train.dropout" in error_of(presets.override, Config(), ["train.dropout=0.5"])


def test_fields_that_both_tasks_have_stay_when_the_task_changes(own_task):
    config = make(train={"steps": 3, "loss": "wasserstein"})
    for changed in (
        replace(config, task=own_task),
        presets.override(config, [f"task={own_task}"]),
    ):
        assert changed.train.steps == 3 and changed.train.dropout == 0.25
    back = replace(changed, task="gan")
    assert back.train.steps == 3 and back.train.loss == "hinge"
