"""Steps whose numbers are not finite: nothing of them reaches the state, and they are counted."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.poisoned import BATCH, bad_steps
from support.tiny import CONFIG, same_bits
from support.training import Training

from sagan.config import replace
from sagan.tasks.gan.losses import LOSSES
from sagan.training import nonfinite
from sagan.training.nonfinite import Diverged, History

DENSE = replace(
    CONFIG,
    data={"name": "support.poisoned", "flip": False},
    model={"name": "support.poisoned", "num_classes": None},
    train={"batch_size": BATCH, "d_steps_per_g_step": 1},
)
WATCHED = ("loss/d", "loss/g", "loss/penalty", "grad_norm/d", "grad_norm/g")


def play(config, dispatches, *, per_dispatch=1, **options):
    """Returns the states before and after each dispatch, and each one's scalars and report."""
    sizes = [(per_dispatch * number, per_dispatch) for number in range(dispatches)]
    states, history = Training(config, **options).play(sizes)
    return states, [nonfinite.split(scalars) for scalars in history]


@pytest.mark.parametrize("updates", [1, 3])
def test_a_poisoned_update_of_d_moves_nothing_but_the_step(updates):
    """One D update of the step meets an image for which logits are NaN."""
    states, returned = play(replace(DENSE, train={"d_steps_per_g_step": updates}), 8)
    bad = bad_steps(8, updates)
    assert 0 < len(bad) < 8
    counted = 0
    for step, (before, after, (scalars, report)) in enumerate(
        zip(states, states[1:], returned, strict=False), start=1
    ):
        assert int(after.step) == step
        counted += step in bad
        assert list(report.skipped) == [step in bad]
        assert int(scalars["guard/skipped"]) == int(after.skipped) == counted
        if step in bad:
            assert same_bits(before.task, after.task) == []
            row = dict(zip(WATCHED, report.seen[0], strict=True))
            assert not np.isfinite(row["loss/d"]) and not np.isfinite(row["grad_norm/d"])
        else:  # and the game goes on, for both players
            assert same_bits(before.task.g.params, after.task.g.params) != []
            assert same_bits(before.task.d.params, after.task.d.params) != []
            assert np.all(np.isfinite(report.seen))
        leaves = [x for x in jax.tree.leaves(after) if x.dtype.kind == "f"]
        assert all(np.all(np.isfinite(x)) for x in leaves)


def test_gradients_of_g_alone_are_enough():
    """A finite loss whose gradient is not: 0 · sqrt at 0."""

    def generator(real, fake):
        return -jnp.mean(fake) + jnp.sqrt(0 * jnp.sum(fake))

    def change(task):
        task.gan = task.gan._replace(loss=LOSSES["hinge"]._replace(generator=generator))

    states, ((_, report),) = play(replace(DENSE, data={"name": "synthetic"}), 1, change=change)
    row = dict(zip(WATCHED, report.seen[0], strict=True))
    assert np.isfinite([row[k] for k in ("loss/d", "loss/g", "grad_norm/d")]).all()
    assert not np.isfinite(row["grad_norm/g"]) and list(report.skipped) == [True]
    before, after = states
    assert same_bits(before.task, after.task) == []


def test_what_overflows_in_the_update_itself_stays_as_it_was():
    """Finite gradients may make single elements infinite; not one of them is kept."""
    old = {"w": jnp.array([1.0, 2.0, 3.0]), "count": jnp.array(4)}
    new = {"w": jnp.array([5.0, jnp.inf, jnp.nan]), "count": jnp.array(5)}
    kept, skipped, _ = nonfinite.keep_finite(WATCHED, old, new, {"loss/d": jnp.zeros(())})
    assert not skipped and kept["count"] == 5
    np.testing.assert_array_equal(kept["w"], [5, 2, 3])
    bad = {"grad_norm/g": jnp.array(-jnp.inf)}
    kept, skipped, _ = nonfinite.keep_finite(WATCHED, old, new, bad)
    assert skipped and same_bits(old, kept) == []


def test_without_bad_numbers_the_check_changes_nothing():
    """To rounding: two programs may be fused differently."""
    config = replace(DENSE, data={"name": "synthetic"}, train={"d_steps_per_g_step": 2})
    checked, returned = play(config, 3, devices=2)
    plain, expected = play(config, 3, devices=2, skip_nonfinite=False)
    for a, b in zip(jax.tree.leaves(checked), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert not any(report.skipped.any() for _, report in returned)
    assert [set(s) for s, _ in returned] == [set(s) for s, _ in expected]
    assert all(report is None for _, report in expected)


def test_steps_of_one_dispatch_report_each_for_itself():
    states, returned = play(DENSE, 2, per_dispatch=4)
    one_by_one, _ = play(DENSE, 8)
    assert [list(r.skipped) for _, r in returned] == [
        [step in bad_steps(8) for step in range(a, a + 4)] for a in (1, 5)
    ]
    assert int(returned[-1][0]["guard/skipped"]) == len(bad_steps(8))
    assert int(states[-1].step) == int(one_by_one[-1].step) == 8


def report(*skipped):
    rows = [[np.nan if bad else 1.0, -2.0, 0.0, np.inf if bad else 3.0, 4.0] for bad in skipped]
    return nonfinite.Report(np.array(skipped), np.array(rows, np.float32))


def history(tmp_path, limit, *, step=0, skipped=0, main=True):
    return History(tmp_path, WATCHED, limit, step=step, skipped=skipped, main=main)


def test_history_counts_lists_and_gives_up(tmp_path, capsys):
    first = history(tmp_path, 3)
    first.read(1, report(False))
    assert not (tmp_path / "diverged.json").exists()
    first.read(5, report(True, False, False, True))
    lines = capsys.readouterr().err.splitlines()
    assert ["step 2" in lines[0], "step 5" in lines[1]] == [True, True]
    for fact in ("loss/d", "grad_norm/d", "guard.skip_steps=3"):
        assert fact in lines[0]
    again = history(tmp_path, 3, step=4, skipped=1)  # resumed: step 5 is still to come
    again.read(5, report(True))
    again.read(6, report(True))
    with pytest.raises(Diverged) as error:
        again.read(7, report(True))
    assert "guard.skip_steps=3" in str(error.value) and str(tmp_path) in str(error.value)
    assert again.skipped == 4
    entries = json.loads((tmp_path / "diverged.json").read_text(), parse_constant=lambda _: 1 / 0)
    assert [entry["step"] for entry in entries] == [2, 5, 6, 7]
    assert entries[0]["not_finite"] == ["loss/d", "grad_norm/d"]
    assert entries[0]["values"]["loss/d"] == "nan" and entries[0]["values"]["loss/g"] == -2.0


def test_other_processes_count_and_stay_silent(tmp_path, capsys):
    other = history(tmp_path, 1, main=False)
    other.read(1, report(True))
    with pytest.raises(Diverged):
        other.read(2, report(True))
    assert capsys.readouterr().err == "" and list(tmp_path.iterdir()) == []
