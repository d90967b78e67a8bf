"""Precision, recall, density, coverage against torch-fidelity, prdc and expectations."""

import resource
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from sagan.evaluation.metrics import Batch, Spec, find, neighbours

precision_recall, density_coverage = find(["pr", "dc"])


def state_of(x: np.ndarray, metric=density_coverage):
    state = metric.accumulator.init(Spec(x.shape[1], len(x)))
    return metric.accumulator.update(state, Batch(x.astype(np.float32), np.arange(len(x))))


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", 130)


def test_equal_sets(small_tiles):
    x = state_of(np.random.RandomState(0).randn(500, 64))
    assert density_coverage.compute(x, x) == {"density": 1.0, "coverage": 1.0}
    assert density_coverage.compute(x, x, closed=True)["density"] == pytest.approx(1.2, abs=1e-12)
    assert precision_recall.compute(x, x) == {"precision": 1.0, "recall": 1.0}


@pytest.mark.parametrize("width", [16, 2048])
def test_prdc(width, peer, small_tiles, capsys):
    random = np.random.RandomState(1)
    real = np.abs(random.randn(700, width)).astype(np.float32)
    fake = np.abs(random.randn(600, width) * 0.95 + 0.02).astype(np.float32)
    theirs = peer("prdc").compute_prdc(real, fake, nearest_k=5)
    ours = density_coverage.compute(state_of(fake), state_of(real))
    assert ours == pytest.approx({key: theirs[key] for key in ours}, rel=1e-12)


def test_torch_fidelity(peer, small_tiles):
    torch = pytest.importorskip("torch")
    random = np.random.RandomState(2)
    real = np.abs(random.randn(800, 256)).astype(np.float32)
    fake = np.abs(random.randn(600, 256) * 0.97).astype(np.float32)
    theirs = peer("torch_fidelity.metric_prc").prc_features_to_metric(
        torch.from_numpy(fake), torch.from_numpy(real), verbose=False
    )
    ours = precision_recall.compute(state_of(fake), state_of(real))
    assert 0.05 < ours["precision"] < 1 and 0.05 < ours["recall"] < 1  # tells the sides apart
    assert ours["precision"] != ours["recall"]
    assert ours == pytest.approx({key: theirs[key] for key in ours}, abs=1e-3)


@pytest.mark.parametrize(
    "num_real, num_fake, expected", [(2000, 2000, 0.9688), (4000, 800, 0.5982)]
)
def test_expectations_for_samples_of_one_distribution(num_real, num_fake, expected):
    t = np.arange(1, 6)
    formula = 1 - np.prod((num_real - t) / (num_real + num_fake - t))
    assert formula == pytest.approx(expected, abs=5e-4)
    random = np.random.RandomState(3)
    real, fake = random.randn(num_real, 6), random.randn(num_fake, 6)
    got = density_coverage.compute(state_of(fake), state_of(real))
    assert got["coverage"] == pytest.approx(formula, abs=0.02)
    assert got["density"] == pytest.approx(1, abs=0.05)


def test_hand_worked_balls_contain_their_surface():
    """On a line: the third neighbours of 0, 1, 2, 3 are 3, 2, 2, 3 away."""
    real = np.array([[0.0], [1], [2], [3]])
    fake = np.array([[-3.0], [-3.5], [6], [1.5]])  # the first and third lie on a surface
    got = precision_recall.compute(state_of(fake), state_of(real))
    assert got["precision"] == 0.75
    got = density_coverage.compute(state_of(fake), state_of(real), k=3)
    assert got == {"density": pytest.approx(4 / (3 * 4)), "coverage": 1.0}


def test_copies_are_at_distance_zero(small_tiles):
    x = np.random.RandomState(4).randn(300, 512).astype(np.float32)
    doubled = np.concatenate([x, x])
    assert (neighbours.radii(doubled, 1) == 0).all()
    assert (neighbours.radii(doubled, 2) > 1).all()


def test_too_few_images_are_refused():
    few, many = state_of(np.eye(5)[:3]), state_of(np.eye(5))
    with pytest.raises(ValueError, match="3 neighbours .* 4 images, got 3"):
        precision_recall.compute(few, many)


def test_never_all_distances_are_in_memory():
    """10,000 x 10,000 distances would take 400 MB in float32; the tiles must not."""
    program = """
        import resource
        import numpy as np
        from sagan.evaluation.metrics import Batch, Spec, find
        (metric,) = find(["dc"])
        random = np.random.RandomState(0)
        def state(n):
            x = random.randn(n, 64).astype(np.float32)
            state = metric.accumulator.init(Spec(64, n))
            return metric.accumulator.update(state, Batch(x, np.arange(n)))
        metric.compute(state(2000), state(2000))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        metric.compute(state(10000), state(10000))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    kilobytes = int(done.stdout) if sys.platform != "darwin" else int(done.stdout) // 1024
    assert kilobytes < 200_000, resource.RUSAGE_SELF
