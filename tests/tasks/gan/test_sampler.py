"""Sampling: image i depends on the checkpoint, seed, i and class alone."""

import jax
import numpy as np
import pytest
from PIL import Image
from support.restated import random

import sagan
from sagan import cli, tasks
from sagan.config import ConfigError, make, replace
from sagan.files import images
from sagan.runs import checkpoint
from sagan.tasks import classes
from sagan.tasks.gan import attention_maps, inference, interpolation
from sagan.tasks.gan.sampler import Sampler


def load(workdir):
    return sagan.load(workdir)


@pytest.fixture(scope="module")
def source(workdir):
    return load(workdir)


def draw(source, labels, indices, **how):
    return source.sample(labels=labels, indices=indices, **how)


def test_an_image_does_not_depend_on_its_neighbours(source):
    labels = np.arange(70, dtype=np.int32) % 4
    whole = draw(source, labels, np.arange(70))
    for begin, end in ((0, 5), (31, 34), (64, 70)):
        part = draw(source, labels[begin:end], np.arange(begin, end))
        np.testing.assert_array_equal(part, whole[begin:end])
    order = np.random.default_rng(0).permutation(70)
    np.testing.assert_array_equal(draw(source, labels[order], order), whole[order])


def test_nor_on_the_number_of_devices(source, monkeypatch):
    labels = np.zeros(70, np.int32)
    two = draw(source, labels, np.arange(70))
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    np.testing.assert_array_equal(draw(source, labels, np.arange(70)), two)


def test_seed_index_and_class_matter(source):
    base = draw(source, np.zeros(2, np.int32), np.array([0, 1]))
    assert np.any(base[0] != base[1])
    assert np.any(draw(source, np.ones(2, np.int32), np.array([0, 1])) != base)
    assert np.any(draw(source, np.zeros(2, np.int32), np.array([0, 1]), seed=1) != base)
    near = draw(source, np.zeros(2, np.int32), np.array([0, 1]), truncation=0.01)
    assert np.abs(near[0].astype(int) - near[1]).max() < np.abs(base[0].astype(int) - base[1]).max()


def test_statistics_are_those_of_many_batches(workdir):
    """The stored mean and variance, once more from activations, by a plain average."""
    config = checkpoint.read_config(workdir)
    source = load(workdir)
    stored = source.variables["batch_stats"]["block1"]["norm1"]["statistics"]
    # The first norm sees the linear layer's output: its statistics follow from z alone.
    kernel, bias = (source.variables["params"]["linear"][n] for n in ("kernel", "bias"))
    key = jax.random.fold_in(jax.random.key(config.seed), inference.STATISTICS_STREAM)
    features = []
    for number in range(config.checkpoint.statistics_batches):
        for i in range(config.train.batch_size):
            k = jax.random.fold_in(jax.random.fold_in(key, number), i)
            features.append(jax.random.normal(k, (config.model.z_dim,)) @ kernel + bias)
    features = np.asarray(features, np.float64).reshape(-1, stored["mean"].shape[0])
    np.testing.assert_allclose(stored["mean"], features.mean(0), atol=1e-5)
    np.testing.assert_allclose(stored["var"], features.var(0), rtol=1e-4)


def test_classes_may_have_spaces_between(source):
    assert source.find(["3", " hue1 ", " 2"]) == [3, 1, 2]


def test_maps_are_drawn_of_every_image(workdir, tmp_path, source):
    out = tmp_path / "maps.png"
    words = ["sample", str(workdir), "--attention", "--num", "34", "--out", str(out)]
    assert cli.main(words) == 0
    with Image.open(out) as sheet:
        assert sheet.size == (4 * 132 + 4, 34 * 132 + 4)
    labels = np.arange(34, dtype=np.int32) % 4
    (whole,) = source.attention(labels, np.arange(34)).values()
    (last,) = source.attention(labels[32:], np.arange(32, 34)).values()
    np.testing.assert_array_equal(whole[32:], last)


def test_a_generator_takes_latents_of_ones_own_and_blends_classes(source):
    z = source.latents([0, 1])
    made = source(z, [3, 1])
    assert made.dtype == np.float32 and np.abs(made).max() <= 1
    np.testing.assert_array_equal(images.quantize(made), source.sample(labels=[3, 1]))
    weights = np.eye(4)[[3, 1]]
    np.testing.assert_allclose(source(z, weights), made, atol=1e-5)
    assert np.abs(source(z, weights[::-1] / 2 + weights / 2) - made).max() > 1e-3


@pytest.mark.parametrize(
    ("how", "facts"),
    [
        ({"labels": [33]}, ["33", "0 … 3"]),
        ({"labels": [-1]}, ["-1", "0 … 3"]),
        ({"labels": [1.0]}, ["float", "0 … 3"]),
        ({"indices": [0]}, ["labels=None", "4 classes"]),
        ({"labels": [1], "indices": [-1]}, ["-1", "4294967295"]),
        ({"labels": [1], "indices": [0, 1]}, ["1 labels", "2 indices"]),
        ({"labels": [1], "num": 2}, ["num", "labels"]),
        ({"classes": ["hue1", 1]}, ["'hue1'", "1"]),
        ({"classes": ["hue7"]}, ["'hue7'", "did you mean"]),
        ({"num": 0}, ["num=0"]),
        ({"seed": -1}, ["seed -1"]),
    ],
)
def test_arguments_that_do_not_fit_are_refused(source, how, facts):
    with pytest.raises(ConfigError) as caught:
        source.sample(**how)
    assert all(fact in str(caught.value) for fact in facts), caught.value


def test_where_names_are_numbers_names_win():
    known = ["1", "2", "3", "4", "10"]
    assert classes.find(known, ["1", 10]) == [0, 4]
    with pytest.raises(ConfigError):
        classes.find(known, ["0"])
    assert classes.find(["caf\u00e9", "a,b"], ["cafe\u0301", *classes.split("a\\,b")]) == [0, 1]


def test_a_missing_step_lists_what_there_is(workdir, tmp_path, capsys):
    words = ["sample", str(workdir), "--step", "1", "--out", str(tmp_path / "o")]
    assert cli.main(words) == 4
    text = capsys.readouterr().err
    assert "step 1" in text and "2" in text


def test_interpolation_keeps_its_ends_and_its_length():
    begin, end = np.array([3.0, 0.0]), np.array([0.0, 1.0])
    np.testing.assert_allclose(interpolation.slerp(begin, end, 0.0), begin)
    np.testing.assert_allclose(interpolation.slerp(begin, end, 1.0), end, atol=1e-12)
    middle = interpolation.slerp(begin, end, 0.5)
    assert np.linalg.norm(middle) == pytest.approx(2)
    assert middle[0] == pytest.approx(middle[1])


def test_a_point_reads_its_own_row_of_pooled_keys():
    maps = np.zeros((16, 4))
    maps[2 * 4 + 3, 1] = 1  # query at row 2, column 3 of 4 looks at the top right key of 2 x 2
    found = attention_maps.row_of(maps, (0.6, 0.9))
    np.testing.assert_array_equal(found, [[0, 1], [0, 0]])
    image = np.zeros((8, 8, 3), np.uint8)
    lit = attention_maps.overlay(image, found, (255, 0, 0))
    assert lit[:32, 96:, 0].mean() > 100 and lit[96:, :32, 0].max() == 0


def test_no_attention_no_maps(workdir):
    model = replace(checkpoint.read_config(workdir), model={"attention": ()})
    variables = random(inference.abstract(model.model), 0)
    sampler = Sampler(model, 1, tuple(f"hue{n}" for n in range(4)), variables)
    with pytest.raises(ConfigError, match="model.attention"):
        sampler.attention(labels=[0], indices=[0])
    assert sampler.exhibits(1) == []


def test_a_run_without_classes_and_attention_is_sampled(tmp_path, capsys):
    path = tmp_path / "run"
    words = ["train", "debug", "train.steps=1", "sample.every_steps=0", "--workdir", str(path)]
    words += ["model.name=support.dense_pair", "model.num_classes=none"]
    assert cli.main(words) == 0
    assert cli.main(["sample", str(path), "--attention", "--out", str(tmp_path / "a.png")]) == 2
    assert "model.attention" in capsys.readouterr().err
    with pytest.raises(ConfigError):
        load(path).find(["0"])
    assert cli.main(["sample", str(path), "--num", "2", "--out", str(tmp_path / "o")]) == 0
    assert sorted(p.name for p in (tmp_path / "o").glob("*.png")) == ["000000.png", "000001.png"]
    words = ["sample", str(path), "--folders", "--out", str(tmp_path / "f")]
    assert cli.main(words) == 2 and "unconditional" in capsys.readouterr().err


def test_an_interpolation_between_classes_ends_at_the_images_that_sample_draws(source):
    row = source.interpolate((0, "hue1"), (5, 3), steps=5)
    ends = source.sample(labels=[1, 3], indices=[0, 5]).astype(int)
    assert np.abs(row[[0, -1]].astype(int) - ends).max() <= 1  # blended classes round elsewhere
    assert len(np.unique(row.reshape(5, -1), axis=0)) == 5
    with pytest.raises(ConfigError):
        source.interpolate((0, None), (1, None))


def test_exhibits_are_images_with_the_maps_that_attention_returns(workdir):
    sampler = sagan.load(workdir)
    shown = sampler.exhibits(3)
    drawn = sampler.sample(labels=[0, 1, 2], indices=[0, 1, 2])
    maps = sampler.attention(labels=[0, 1, 2], indices=[0, 1, 2])
    assert [one.title for one in shown] == list(sampler.class_names[:3])
    for number, one in enumerate(shown):
        np.testing.assert_array_equal(one.image, drawn[number])
        assert [look.name for look in one.looks] == list(maps)
        for look in one.looks:
            assert look.note.startswith("γ = ")
            expected = maps[look.name][number]
            np.testing.assert_allclose(look.maps.reshape(expected.shape), expected)


def test_with_several_sets_of_statistics_all_pictures_are_of_whole_latents():
    small = {"name": "biggan_deep", "image_size": 8, "num_classes": 2, "z_dim": 4, "shared_dim": 4}
    small |= {"g_channels": 8, "d_channels": 8, "g_depth": 1, "d_depth": 1}
    small |= {"attention": (8,), "attention_d": (4,), "statistics_sets": 3}
    config = make(model=small)
    variables = random(inference.abstract(config.model), 0)
    sampler = Sampler(config, 1, ("a", "b"), variables)
    (one,) = sampler.exhibits(1)
    np.testing.assert_array_equal(one.image, sampler.sample(num=1)[0])
    preview = tasks.build(config, 1).preview(variables, 1)
    shape = preview.picture.shape
    assert len(shape) == 3 and shape[-1] == 3
