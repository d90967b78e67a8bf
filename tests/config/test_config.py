"""Presets, overrides, JSON: every preset works, every mistake says what is allowed."""

import dataclasses
import subprocess
import sys

import jax
import pytest

from sagan import data
from sagan.config import Config, ConfigError, presets
from sagan.config import as_json as config_json
from sagan.config import plugins as registry
from sagan.tasks.gan import step as train_step


@pytest.mark.parametrize("name", presets.preset_names())
def test_every_preset_round_trips_and_its_real_step_has_shapes(name):
    config = presets.load(name)
    assert config_json.from_json(config_json.to_json(config)) == config
    assert config.name == name
    classes = 5 if config.model.num_classes == "data" else config.model.num_classes
    model = dataclasses.replace(config.model, num_classes=classes)
    config = dataclasses.replace(config, model=model)
    registry.load("models", model.name, field="model.name").check(model)
    gan = train_step.build(config, 1)
    state = jax.eval_shape(lambda: train_step.init(gan))
    size, updates = model.image_size, config.train.d_steps_per_g_step
    shape = (1, updates, config.train.batch_size)
    batch = {
        "image": jax.ShapeDtypeStruct((*shape, size, size, 3), "uint8"),
        "label": jax.ShapeDtypeStruct(shape, "int32"),
    }
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    program = jax.shard_map(
        lambda s, b: train_step.program(gan, s, (), b),
        mesh=mesh,
        in_specs=jax.P(),
        out_specs=jax.P(),
        check_vma=False,
    )
    after, scalars = jax.eval_shape(program, state, batch)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert {"loss/d", "loss/g"} <= set(scalars)


@pytest.mark.parametrize("name", presets.preset_names())
def test_every_preset_says_how_to_run_it(name):
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
        ("data.dir=/a=b", "data.dir", "/a=b"),
        ("train.parallel=pmap", "train.parallel", "pmap"),
    ],
)
def test_overrides(text, key, value):
    config = presets.override(Config(), [text])
    assert dict(config_json.leaves(config))[key] == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("train.lr=1", "unknown config key 'train.lr'; TrainConfig has: steps, batch_size"),
        ("trian.steps=1", "did you mean: train.steps"),
        ("train=1", "unknown config key 'train'"),
        ("train.steps.x=1", "unknown config key"),
        ("train.steps", "not of the form section.field=value"),
        ("train.steps=1.5", "train.steps='1.5' is not an int"),
        ("train.steps=0", "train.steps=0; allowed: >= 1"),
        ("data.flip=maybe", "data.flip='maybe' is not a bool"),
        ("model.dtype=half", "model.dtype='half' is not one of float32, bfloat16"),
        ("model.attention=a,b", "is not an int"),
        ("optim.beta2=1", r"optim.beta2=1.0; allowed: \[0, 1\)"),
        ("train.accumulate_steps=3", "train.batch_size=64 is not divisible"),
        ("train.steps_per_dispatch=7", "train.steps=100000 is not divisible by"),
        ("optim.linear_decay_steps=0", "optim.linear_decay_steps=0; allowed: >= 1, or none"),
        ("checkpoint.keep_every_steps=0", "checkpoint.keep_every_steps=0; allowed: >= 1, or none"),
        ("seed=-1", "seed=-1; allowed: 0"),
        ("name=a/b", "allowed: a plain folder name"),
    ],
)
def test_mistakes_say_what_is_allowed(text, says):
    with pytest.raises(ConfigError, match=says):
        presets.override(Config(), [text])


def test_the_best_is_known_by_something_that_is_measured():
    words = ["eval.metrics=is", "eval.every_steps=1000"]
    with pytest.raises(ConfigError, match="eval.best_metric='fid' is not among.*allowed: is"):
        presets.override(Config(), words)
    presets.override(Config(), [*words, "eval.best_metric=is"])
    presets.override(Config(), words[:1])  # nothing is kept for it


def test_without_attention_in_the_generator_there_is_none_at_all():
    config = presets.override(presets.load("digits"), ["model.attention=none"])
    assert config.model.attention_d and config.model.discriminator_attention == ()


def test_wrong_types_from_python_and_json_are_refused():
    """In a process of its own: here the checks that tests add would come first."""
    code = (
        "from sagan import config as c; from sagan.config import as_json as config_json\n"
        "json = '{\"seed\": []}'\n"
        "wrong = lambda: c.TrainConfig(batch_size='64'), lambda: config_json.from_json(json)\n"
        "for make in wrong:\n"
        "    try: make()\n"
        "    except c.ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "train.batch_size='64' is not an int\nseed=() is not an int\n"


def test_unknown_preset_and_missing_file(tmp_path):
    with pytest.raises(ConfigError, match="no preset named 'cifar'; presets: .*cifar10"):
        presets.load("cifar")
    with pytest.raises(ConfigError, match=r"nowhere.py does not exist"):
        presets.load("nowhere.py")
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config():\n    return 1 / 0\n")
    with pytest.raises(ConfigError, match="broken.py: ZeroDivisionError"):
        presets.load(str(broken))


def test_differences_name_what_makes_another_run():
    saved = Config()
    same = presets.override(saved, ["train.steps=5", "log.every_steps=7", "data.dir=x"])
    assert config_json.differences(saved, same) == []
    other = presets.override(saved, ["train.batch_size=32", "seed=1"])
    assert config_json.differences(saved, other) == [
        "seed: 0 -> 1",
        "train.batch_size: 64 -> 32",
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [("{", "not JSON"), ('{"sead": 1}', "unknown key sead"), ("[]", "the top is not an object")],
)
def test_json_that_is_no_config(text, says):
    with pytest.raises(ConfigError, match=says):
        config_json.from_json(text)


def test_num_classes_must_be_the_datas():
    config = presets.load("digits", ["model.num_classes=7"])
    with pytest.raises(ConfigError, match="model.num_classes=7, but digits has 10"):
        data.resolve(config, data.load(config.data, 8))
