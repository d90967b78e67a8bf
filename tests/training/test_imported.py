"""Networks of another project as a work directory of this one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from support import peers

import sagan
from sagan import cli, tasks
from sagan.config import ConfigError, make
from sagan.parallel.devices import Devices
from sagan.runs import checkpoint
from sagan.tasks.gan import imports
from sagan.training import imported, start_from
from sagan.training.state import RunState, init

BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "weight_u", "weight_v")


def adam_of(state):
    """Adam's state as torch saves it; the moments are the weights and their squares."""
    weights = [x for key, x in state.items() if not key.endswith(BUFFERS)]
    found = {
        n: {"step": 5, "exp_avg": x.clone(), "exp_avg_sq": x**2} for n, x in enumerate(weights)
    }
    group = {"lr": 3e-4, "betas": (0.5, 0.99), "eps": 1e-7, "params": list(range(len(weights)))}
    return {"state": found, "param_groups": [group]}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """StudioGAN's SNGAN, whose generator is not spectrally normalised: networks and files."""
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("studiogan")
    g = peers.Studiogan(shared=False, older=True, style=None)
    d = peers.Studiogan(shared=False, seed=1)
    label = torch.arange(4)
    g.gen(torch.zeros(4, 6), label), d.disc(torch.zeros(4, 3, 32, 32), label)
    files = []
    for name, network in (("G", g), ("D", d)):
        files.append(folder / f"model={name}-best-weights-step=2.pth")
        tree = {"state_dict": network.state, "optimizer": adam_of(network.state)}
        torch.save(tree, files[-1])
    return torch, g, files


WORDS = ["data.name=synthetic", "train.batch_size=2", "eval.every_steps=0", "name=peer"]


@pytest.fixture(scope="module")
def workdir(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported") / "run"
    files = map(str, source[2])
    assert cli.main(["import", "studiogan", *files, *WORDS, "--out", str(out)]) == 0
    return out


def test_it_samples_like_the_source(source, workdir, tmp_path):
    torch, g, _ = source
    generator = sagan.load(workdir)
    assert generator.step == 2 and generator.class_names == ("hue0", "hue1", "hue2", "hue3")
    z = torch.randn(4, 6)
    with torch.no_grad():
        expected = g.gen(z, torch.arange(4)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(generator(z.numpy(), range(4)), expected, atol=2e-5)
    words = ["export", str(workdir), "--format", "safetensors", "--out", str(tmp_path / "out")]
    assert cli.main(words) == 0
    exported = sagan.load(tmp_path / "out")
    assert "trained by studiogan" in (tmp_path / "out" / "README.md").read_text()
    np.testing.assert_allclose(exported(z.numpy(), range(4)), expected, atol=2e-5)


def test_a_run_starts_from_it(workdir):
    config = sagan.load(workdir).config
    names = ("d/params/head/kernel", "d/params/head/bias")
    ours = {"head": {"kernel": jnp.zeros((8, 1)), "bias": jnp.zeros(2)}}
    first = RunState(jnp.int32(0), jnp.zeros(2, jnp.uint32), jnp.int32(0), {"d": {"params": ours}})
    adopted, report = start_from.adopt(start_from.find(workdir, config), first, Devices())
    assert report.taken == [names[0]] and list(report.other_shape) == [names[1]]
    assert "ema/linear/kernel" in report.not_used and not report.new
    assert np.abs(adopted.task["d"]["params"]["head"]["kernel"]).max() > 0


def test_a_training_goes_on_with_the_source_s_optimizers(workdir):
    config = sagan.load(workdir).config
    assert (config.optim.g_learning_rate, config.optim.beta2) == (3e-4, 0.99)
    state = checkpoint.restore_state(workdir, 2, Devices().replicated)["task"]
    # The moments are the weights, but for the tables of gains, to which 1 is added.
    row = ravel_pytree(
        jax.tree_util.tree_map_with_path(
            lambda path, x: x - (path[-1].key == "scale" and x.ndim == 2), state["g"]["params"]
        )
    )[0]
    np.testing.assert_allclose(state["g"]["opt_state"][0]["mu"], row, atol=1e-6)
    np.testing.assert_allclose(state["g"]["opt_state"][0]["nu"], row**2, atol=1e-6)
    # A state as a run of this package has it is what is restored.
    devices = Devices()
    task = tasks.build(config, devices.count)
    abstract = devices.abstract(lambda: init(task, config.seed))
    checkpoints = checkpoint.Checkpoints(workdir, config.checkpoint)
    restored = checkpoints.restore(2, abstract)
    checkpoints.close()
    assert int(restored.step) == 2 and int(restored.task.d.opt_state[0].count) == 5


def test_batch_statistics_are_the_source_s_or_computed_anew(source, workdir, tmp_path):
    own = sagan.load(workdir)
    found = imports.read("studiogan", source[2][:1], WORDS)
    imported.write(found, tmp_path / "anew", statistics_batches=1)
    anew = sagan.load(tmp_path / "anew")
    mean = np.asarray(own.variables["batch_stats"]["norm"]["statistics"]["mean"])
    np.testing.assert_allclose(mean, source[1].state["bn4.running_mean"].numpy())
    assert np.abs(mean - anew.variables["batch_stats"]["norm"]["statistics"]["mean"]).max() > 0.01
    assert (own.config.checkpoint.statistics_batches, own.origin) == (0, "studiogan")
    assert anew.config.checkpoint.statistics_batches == 1
    # A training that goes on draws with its running averages.
    player = {"spectral_stats": {}, "batch_stats": {"running": jnp.ones(2)}}
    drawn = tasks.build(own.config, 2).inference(({"linear": {"bias": jnp.ones(1)}}, player))
    np.testing.assert_array_equal(drawn["batch_stats"]["running"], 1)


def test_where_nothing_can_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for out in (tmp_path / "file", tmp_path / "file" / "a" / "run", tmp_path):
        with pytest.raises(ConfigError, match="file|exists"):
            imported.require_new(out)
    assert imported.require_new(tmp_path / "a" / "run") == tmp_path / "a" / "run"


def test_several_sets_of_statistics_are_not_trained():
    config = make(model={"name": "biggan_deep", "num_classes": 4, "statistics_sets": 51})
    with pytest.raises(ConfigError, match="statistics_sets"):
        jax.eval_shape(lambda: init(tasks.build(config, 2), 0))
