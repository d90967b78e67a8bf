"""A trained Image Transformer: what it draws, completes and enlarges, and its scores."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from support.tiny_transformer import CONFIG

import sagan
from sagan import cli, data, tasks
from sagan.config import ConfigError, GuardConfig, replace
from sagan.evaluation import ScoreSpec
from sagan.runs import checkpoint
from sagan.tasks.image_transformer.health import TransformerHealth
from sagan.tasks.image_transformer.sampler import Sampler


@pytest.fixture(scope="module")
def sampler(transformer_run):
    return sagan.load(transformer_run)


@pytest.fixture(scope="module")
def real():
    """Held-out digits and their labels."""
    source = data.load(CONFIG.data, 8, split="test")
    return data.read(source, range(40))


def test_an_image_depends_on_seed_index_and_class_alone(sampler):
    many = sampler.sample(labels=np.arange(40) % 10, indices=np.arange(40), seed=5)
    assert many.shape == (40, 8, 8, 3) and many.dtype == np.uint8
    assert set(np.unique(many)) <= set(np.round(np.arange(17) * 255 / 16).astype(int))
    few = sampler.sample(labels=[3, 7], indices=[33, 7], seed=5)
    np.testing.assert_array_equal(few, many[[33, 7]])
    for other in ({"seed": 6}, {"indices": [8]}, {"labels": [8]}, {"temperature": 0.3}):
        how = {"labels": [7], "indices": [7], "seed": 5} | other
        assert not np.array_equal(sampler.sample(**how)[0], many[7])


def test_samplers_say_what_they_are(sampler):
    assert sampler.class_names == tuple("0123456789") and sampler.step == 4
    assert sampler.image_size == 8 and sampler.config == CONFIG
    assert sampler.sample(classes=["3", 7], num=2).shape == (4, 8, 8, 3)


def test_completions_keep_the_upper_half(sampler, real):
    images, labels = (x[:3] for x in real)
    drawn = sampler.complete(images, labels)
    np.testing.assert_array_equal(drawn[:, :4], images[:, :4])
    assert not np.array_equal(drawn[:, 4:], images[:, 4:])
    nothing = sampler.complete(images, labels, rows=0)
    np.testing.assert_array_equal(nothing, sampler.sample(labels=labels, indices=range(3)))
    np.testing.assert_array_equal(sampler.complete(images, labels, rows=8), images)


def test_what_is_likely_is_drawn_often(transformer_run, sampler):
    """The bits of drawn images are what the model expects, so drawing follows its likelihood."""
    drawn = sampler.sample(num=200)
    bits = sampler.bits_per_dim(drawn, np.arange(200) % 10)
    noise = np.random.default_rng(0).integers(0, 256, drawn.shape[:3] + (1,)).astype(np.uint8)
    assert bits.mean() < sampler.bits_per_dim(noise.repeat(3, -1), np.arange(200) % 10).mean()
    assert 0 < bits.mean() < np.log2(17) + 1


@pytest.mark.parametrize(
    ("call", "facts"),
    [
        (lambda s, x, y: s.sample(num=1, truncation=0.5), ["truncation=0.5", "temperature"]),
        (lambda s, x, y: s.sample(num=1, temperature=0.0), ["temperature=0"]),
        (lambda s, x, y: s.sample(num=1, seed=-1), ["seed=-1"]),
        (lambda s, x, y: s.sample(classes=["x"]), ["'x'"]),
        (lambda s, x, y: s.complete(x, y, rows=3), ["rows=3", "multiples of 4"]),
        (lambda s, x, y: s.complete(x[:, :4, :4], y), ["(40, 4, 4, 3)", "(N, 8, 8, 3)"]),
        (lambda s, x, y: s.complete(x, y[:3]), ["3 labels", "40"]),
        (lambda s, x, y: s.bits_per_dim(x + np.uint8([0, 0, 1]), y), ["model.channels=1"]),
        (lambda s, x, y: s.enlarge(x, y), ["model.low_resolution"]),
    ],
)
def test_arguments_that_do_not_fit(sampler, real, call, facts):
    with pytest.raises(ConfigError) as error:
        call(sampler, *real)
    assert all(fact in str(error.value) for fact in facts)


def test_bits_per_dim_of_held_out_images_are_filed(transformer_run, sampler):
    result = json.loads((transformer_run / "eval" / "4.json").read_text())
    source = data.load(CONFIG.data, 8, split="test")
    images, labels = data.read(source, range(len(source)))
    expected = sampler.bits_per_dim(images, labels).mean(dtype=np.float64)
    assert result["metrics"] == {"bits_per_dim": pytest.approx(expected, rel=1e-6)}
    protocol = result["protocol"]
    assert protocol["bits_of"] == "digits:test" and protocol["bits_images"] == 360
    assert protocol["levels"] == 17 and len(protocol["bits_sha256"]) == 64
    assert sagan.load(transformer_run, step="best").step == 4


def test_bits_per_dim_of_any_split(transformer_run):
    spec = {"metrics": ["bits_per_dim"], "reference": "digits:train"}
    found = sagan.evaluate(transformer_run, **spec)
    assert found["bits_per_dim"] > 0
    others = list((transformer_run / "eval" / "others").glob("4.*.json"))
    assert [json.loads(path.read_text())["protocol"]["bits_of"] for path in others] == [
        "digits:train"
    ]


def test_scores_that_cannot_be_computed():
    task = tasks.build(CONFIG)
    for changes, fact in (
        ({"truncation": 0.5}, "truncation=0.5"),
        ({"reference": "x.npz"}, "x.npz"),
    ):
        with pytest.raises(ConfigError, match=fact):
            task.scorer(ScoreSpec(metrics=("bits_per_dim",), **changes))
    alone = replace(CONFIG, data={"split": "test"})
    with pytest.raises(ConfigError, match="no held-out split"):
        tasks.build(alone).scorer(ScoreSpec(metrics=("bits_per_dim",)))
    with pytest.raises(ConfigError, match="bits_per_dim"):
        sagan.evaluate(
            images="digits:test",
            reference="digits",
            metrics="bits_per_dim",
            features="support.colour_network",
        )


@pytest.mark.parametrize(
    ("extra", "size"),
    [
        (["--grid", "--classes", "3", "--temperature", "0.5"], (2 * 66 + 2, 66 + 2)),
        (["--complete", "digits:test"], (5 * 66 + 2, 2 * 66 + 2)),
    ],
)
def test_the_command_draws_sheets(transformer_run, tmp_path, extra, size):
    out = tmp_path / "sheet.png"
    words = ["sample", str(transformer_run), "--num", "2", "--out", str(out)]
    assert cli.main([*words, *extra]) == 0
    with Image.open(out) as sheet:
        assert sheet.size == size


@pytest.mark.parametrize(
    ("extra", "facts"),
    [
        (["--temperature", "0"], ["--temperature 0", "above 0"]),
        (["--truncation", "0.5"], ["truncation=0.5"]),
        (["--interpolate", "0", "1"], ["interpolations"]),
        (["--complete", "digits:test", "--classes", "3"], ["--complete", "--classes"]),
        (["--enlarge", "digits:test", "--classes", "3"], ["--enlarge", "--classes"]),
        (["--enlarge", "digits:test"], ["model.low_resolution"]),
        (["--attention", "--truncation", "0.5"], ["truncation=0.5"]),
    ],
)
def test_the_command_says_what_cannot_be_drawn(transformer_run, tmp_path, capsys, extra, facts):
    out = tmp_path / "out"
    assert cli.main(["sample", str(transformer_run), *extra, "--out", str(out)]) == 2
    found = capsys.readouterr().err
    assert all(fact in found for fact in facts)


def test_models_that_enlarge(sampler):
    config = replace(CONFIG, model={"low_resolution": 2, "encoder_layers": 1})
    task = tasks.build(config)
    state = jax.jit(task.init)([jax.random.key(0)])
    variables = task.inference(task.snapshot(state))
    large = Sampler(config, 0, tuple("0123456789"), variables)
    small = np.full((2, 2, 2, 3), 128, np.uint8)
    drawn = large.enlarge(small, labels=[1, 2])
    assert drawn.shape == (2, 8, 8, 3) and not np.array_equal(drawn[0], drawn[1])
    with pytest.raises(ConfigError, match="enlarge"):
        large.sample(num=1)
    sheet = large.enlargement_sheet("digits:test", 3)
    assert sheet.shape == (3 * 66 + 2, 6 * 66 + 2, 3)
    again = large.enlargement_sheet("digits:test", 3, seed=1)
    same = (sheet == again).all((0, 2))
    assert same[:66].all() and same[-66:].all() and not same[70:-70].all()
    with pytest.raises(ConfigError, match="low_resolution"):
        sampler.enlargement_sheet("digits:test", 3)
    preview = task.preview(variables, 0)
    assert preview.images.shape == (10, 8, 8, 3)
    assert preview.picture.shape[1] < preview.picture.shape[0]


def test_completions_take_classes_from_the_names_of_folders(sampler, real, tmp_path):
    images, labels = (x[:6] for x in real)
    only = tmp_path / "of_one_class" / str(labels[0])
    only.mkdir(parents=True)
    Image.fromarray(images[0]).save(only / "a.png")
    sheet = sampler.completion_sheet(str(only.parent), 8)
    assert sheet.shape == (66 + 2, 5 * 66 + 2, 3)
    sampler.completion_sheet(str(only.parent), 8, temperature=0.5)
    with pytest.raises(ConfigError, match="no classes.*sub-folder"):
        sampler.completion_sheet(str(only), 8)


def test_coloured_images_need_three_channels():
    coloured = replace(CONFIG, data={"name": "synthetic"}, model={"num_classes": 4})
    source = data.load(coloured.data, 8)
    with pytest.raises(ConfigError, match="model.channels=1.*coloured"):
        tasks.build(coloured).health(GuardConfig(), source, None)


def test_health_raises_alarms_and_remembers_them():
    source = data.load(CONFIG.data, 8)
    watcher = TransformerHealth(GuardConfig(), source, CONFIG.model)
    for _ in range(11):
        assert watcher.look({"bits_per_dim": 2.0}) == []
    assert [len(watcher.look({"bits_per_dim": 4.5})) for _ in range(4)] == [0, 0, 2, 0]
    assert set(watcher.alarms) == {"uniform", "worse"}
    again = TransformerHealth(GuardConfig(), source, CONFIG.model, watcher.memory(7))
    assert again.alarms == watcher.alarms and again.last_healthy_step is None
    again.look({"bits_per_dim": 2.1})
    assert again.alarms == {} and again.scalars() == {"guard/alarms": 0.0}
    assert [len(again.see(step, 0.01)) for step in (1, 2, 3)] == [0, 0, 1]


def test_weights_are_read_back(transformer_run):
    config = checkpoint.read_config(transformer_run)
    assert config == CONFIG
    assert tasks.build(config).load_sampler(transformer_run, 2).step == 2


def test_exhibits_show_the_memory_of_each_pixel(transformer_run):
    sampler = tasks.build(checkpoint.read_config(transformer_run)).load_sampler(transformer_run, 4)
    first, second = sampler.exhibits(2)
    (look,) = first.looks
    assert first.image.shape == (8, 8, 3) and (first.image != second.image).any()
    maps = np.asarray(look.maps).reshape(8, 8, 8, 8)

    def before(r, c):
        """The pixel that is drawn before one, in its block of 4 x 4; a position reads that."""
        return (r, c - 1) if c % 4 else (r - 1, c + 3) if r % 4 else None

    # A block sees two rows above and two columns beside it, as far as these are drawn.
    assert set(zip(*np.nonzero(maps[0, 1]), strict=True)) == {(0, 0)}
    seen = {before(r, c) for r in range(2, 4) for c in range(6)}
    assert set(zip(*np.nonzero(maps[4, 0]), strict=True)) == seen
