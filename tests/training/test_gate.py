"""Numbers that are not finite never reach the state: nothing of their step does."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.poisoned import BATCH, bad_steps
from support.tiny import CONFIG, changed, same_bits

from sagan import data
from sagan.data.pipeline import Feed, Pipeline
from sagan.parallel.devices import Devices
from sagan.tasks.gan import step as train_step
from sagan.tasks.gan.losses import LOSSES
from sagan.training import gate
from sagan.training.divergence import Diverged, History

DENSE = changed(
    CONFIG,
    data={"name": "poisoned", "flip": False},
    model={"name": "poisoned", "num_classes": None},
    train={"batch_size": BATCH, "d_steps_per_g_step": 1},
)


def play(gan, dispatches, *, per_dispatch=1, devices=1, gated=True):
    """Gives the states before and after each dispatch, and all that each returned."""
    seam = Devices(devices=jax.devices()[:devices])
    pipeline = Pipeline(
        Feed.of(gan.config, gan.config.train.d_steps_per_g_step),
        data.load(gan.config.data, 8),
        seam,
    )
    program = functools.partial(train_step.program, gan, gated=gated)
    program = seam.compile(program, Pipeline.BATCH_AXIS)
    state, batches = (
        seam.create(functools.partial(train_step.init, gan)),
        pipeline.batches((step, per_dispatch) for step in range(0, 1000, per_dispatch)),
    )
    states, returned = [seam.fetch(state)], []
    for _ in range(dispatches):
        state, scalars = program(state, pipeline.data, next(batches))
        states.append(seam.fetch(state))
        scalars = seam.fetch(scalars)
        returned.append(gate.split(scalars) if gated else scalars)
    return states, returned


def changes(before, after):
    return same_bits(before, after._replace(step=before.step))


@pytest.mark.parametrize("updates", [1, 3])
def test_a_poisoned_update_of_d_moves_nothing_but_the_step(updates):
    """One D update of the step meets an image for which logits are NaN."""
    config = changed(DENSE, train={"d_steps_per_g_step": updates})
    states, returned = play(train_step.build(config, 1), 8)
    bad = bad_steps(8, updates)
    assert 0 < len(bad) < 8
    counted = 0
    for step, (before, after, (scalars, report)) in enumerate(
        zip(states, states[1:], returned, strict=False), start=1
    ):
        assert int(after.step) == step
        counted += step in bad
        assert list(report.skipped) == [step in bad]
        assert int(scalars["guard/skipped"]) == counted
        if step in bad:
            assert changes(before, after) == []
            row = dict(zip(gate.WATCHED, report.seen[0], strict=True))
            assert not np.isfinite(row["loss/d"]) and not np.isfinite(row["grad_norm/d"])
        else:  # and the game goes on, for both players
            assert same_bits(before.g.params, after.g.params) != []
            assert same_bits(before.d.params, after.d.params) != []
            assert np.all(np.isfinite(report.seen))
        leaves = [x for x in jax.tree.leaves(after) if x.dtype.kind == "f"]
        assert all(np.all(np.isfinite(x)) for x in leaves)


def test_gradients_of_g_alone_are_enough():
    """A finite loss whose gradient is not: 0 · sqrt at 0."""

    def generator(fake):
        return -jnp.mean(fake) + jnp.sqrt(0 * jnp.sum(fake))

    gan = train_step.build(changed(DENSE, data={"name": "synthetic"}), 1)
    gan = gan._replace(loss=LOSSES["hinge"]._replace(generator=generator))
    states, ((_, report),) = play(gan, 1)
    row = dict(zip(gate.WATCHED, report.seen[0], strict=True))
    assert np.isfinite([row[k] for k in ("loss/d", "loss/g", "grad_norm/d")]).all()
    assert not np.isfinite(row["grad_norm/g"]) and list(report.skipped) == [True]
    assert changes(*states) == []


def test_what_overflows_in_the_update_itself_stays_as_it_was():
    """Finite gradients may make single elements infinite; not one of them is kept."""
    numbers = jnp.array([1.0, 2.0, 3.0])
    player = train_step.Player({"w": numbers}, {}, {"count": jnp.array(4)})
    old = train_step.TrainState(jnp.array(6), jnp.zeros(2, jnp.uint32), player, player, numbers)
    moved = train_step.Player(
        {"w": jnp.array([5.0, jnp.inf, jnp.nan])}, {}, {"count": jnp.array(5)}
    )
    new = train_step.TrainState(jnp.array(7), old.key, moved, moved, numbers + 1)
    kept, found = gate.keep_finite(old, new, {"loss/d": jnp.zeros(())})
    assert not found["gate/skipped"] and kept.step == 7 and kept.g.opt_state["count"] == 5
    np.testing.assert_array_equal(kept.g.params["w"], [5, 2, 3])
    np.testing.assert_array_equal(kept.ema, [2, 3, 4])
    kept, found = gate.keep_finite(old, new, {"grad_norm/g": jnp.array(-jnp.inf)})
    assert found["gate/skipped"] and kept.step == 7 and changes(old, kept) == []


def test_without_bad_numbers_the_gate_changes_nothing():
    """To rounding: two programs may be fused differently."""
    config = changed(DENSE, data={"name": "synthetic"}, train={"d_steps_per_g_step": 2})
    gan = train_step.build(config, 2)
    gated, returned = play(gan, 3, devices=2)
    plain, expected = play(gan, 3, devices=2, gated=False)
    for a, b in zip(jax.tree.leaves(gated), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert not any(report.skipped.any() for _, report in returned)
    assert [set(scalars) for scalars, _ in returned] == [set(scalars) for scalars in expected]


def test_steps_of_one_dispatch_report_each_for_itself():
    states, returned = play(train_step.build(DENSE, 1), 2, per_dispatch=4)
    one_by_one, _ = play(train_step.build(DENSE, 1), 8)
    assert [list(r.skipped) for _, r in returned] == [
        [step in bad_steps(8) for step in range(a, a + 4)] for a in (1, 5)
    ]
    assert int(returned[-1][0]["guard/skipped"]) == len(bad_steps(8))
    assert int(states[-1].step) == int(one_by_one[-1].step) == 8


def report(*skipped):
    rows = [[np.nan if bad else 1.0, -2.0, 0.0, np.inf if bad else 3.0, 4.0] for bad in skipped]
    return gate.Report(np.array(skipped), np.array(rows, np.float32))


def test_history_counts_lists_and_gives_up(tmp_path, capsys):
    history = History(tmp_path, 3, 0, 0, True)
    history.read(1, report(False))
    assert not (tmp_path / "diverged.json").exists()
    history.read(5, report(True, False, False, True))
    text = capsys.readouterr().err
    assert "step 2 is skipped, not finite: loss/d, grad_norm/d (1 so far" in text
    assert "step 5 is skipped" in text and "(2 so far; guard.skip_steps=3)" in text
    again = History(tmp_path, 3, 4, 1, True)  # resumed from step 4: step 5 is still to come
    again.read(5, report(True))
    again.read(6, report(True))
    with pytest.raises(Diverged, match=r"^4 steps had .* more than guard.skip_steps=3; all"):
        again.read(7, report(True))
    entries = json.loads((tmp_path / "diverged.json").read_text(), parse_constant=lambda _: 1 / 0)
    assert [entry["step"] for entry in entries] == [2, 5, 6, 7]
    assert entries[0]["not_finite"] == ["loss/d", "grad_norm/d"]
    assert entries[0]["values"]["loss/d"] == "nan" and entries[0]["values"]["loss/g"] == -2.0


def test_other_processes_count_and_stay_silent(tmp_path, capsys):
    history = History(tmp_path, 1, 0, 0, False)
    history.read(1, report(True))
    with pytest.raises(Diverged):
        history.read(2, report(True))
    assert capsys.readouterr().err == "" and list(tmp_path.iterdir()) == []
