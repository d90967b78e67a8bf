"""FID against closed forms, SciPy's matrix root, pytorch-fid and torch-fidelity."""

import warnings

import numpy as np
import pytest
import scipy.linalg

from sagan.evaluation.metrics import Batch, Spec, find, frechet

fid, intra_fid = find(["fid", "intra_fid"])


def state_of(x: np.ndarray, labels: np.ndarray | None = None, metric=fid):
    state = metric.accumulator.init(Spec(x.shape[1], len(x)))
    batch = Batch(x.astype(np.float32), np.arange(len(x)), labels)
    return metric.accumulator.update(state, batch)


def state_with(mean: np.ndarray, covariance: np.ndarray, n: int = 50_000) -> frechet.Moments:
    outer = covariance * (n - 1) + n * np.outer(mean, mean)
    return frechet.Moments(np.array(n), n * mean, outer)


def correlated(seed: int, n: int, width: int) -> np.ndarray:
    """Draws features like Inception's: not negative, correlated, of very different variances."""
    random = np.random.RandomState(seed)
    mix = random.randn(width, width) * np.geomspace(1, 1e-3, width)[:, None]
    return np.maximum(random.randn(n, width) @ mix + 0.4, 0).astype(np.float32)


@pytest.mark.parametrize("width", [1, 7, 64])
def test_closed_form(width):
    standard = state_with(np.zeros(width), np.eye(width))
    wide = state_with(np.ones(width), 4 * np.eye(width))
    assert fid.compute(standard, wide)[""] == pytest.approx(2 * width, rel=1e-9)


def test_same_statistics_give_zero_and_a_shift_its_square():
    x = correlated(0, 300, 40)
    assert abs(fid.compute(state_of(x), state_of(x))[""]) < 1e-8
    shift = np.linspace(-1, 1, 40, dtype=np.float32)
    shifted = x.astype(np.float64) + shift
    mean, covariance = shifted.mean(0), np.cov(shifted, rowvar=False)
    assert fid.compute(state_of(x), state_with(mean, covariance))[""] == pytest.approx(
        np.sum(shift.astype(np.float64) ** 2), abs=1e-7
    )


@pytest.mark.parametrize("n", [400, 100])  # of full rank, and not
def test_scipy_and_pytorch_fid(n, peer):
    x, y = correlated(0, n, 192), correlated(1, n + 50, 192)
    mean_x, mean_y = x.astype(float).mean(0), y.astype(float).mean(0)
    cov_x, cov_y = np.cov(x.astype(float), rowvar=False), np.cov(y.astype(float), rowvar=False)
    ours = fid.compute(state_of(x), state_of(y))[""]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy calls a matrix without full rank singular
        root = scipy.linalg.sqrtm(cov_x @ cov_y)
    expected = np.sum((mean_x - mean_y) ** 2) + np.trace(cov_x + cov_y) - 2 * np.trace(root).real
    assert ours == pytest.approx(expected, rel=1e-5)

    if n > 192 and tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 18):
        theirs = peer("pytorch_fid.fid_score").calculate_frechet_distance
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it passes an argument that SciPy will drop
            expected = theirs(mean_x, cov_x, mean_y, cov_y)
        assert ours == pytest.approx(expected, rel=1e-7)


def test_torch_fidelity(peer):
    torch = pytest.importorskip("torch")
    theirs = peer("torch_fidelity.metric_fid")
    x, y = correlated(2, 700, 256), correlated(3, 500, 256)
    statistics = [theirs.fid_features_to_statistics(torch.from_numpy(z).double()) for z in (x, y)]
    expected = theirs.fid_statistics_to_metric(*statistics, verbose=False)
    assert fid.compute(state_of(x), state_of(y))[""] == pytest.approx(
        expected["frechet_inception_distance"], rel=1e-7
    )


@pytest.mark.parametrize("n", [30, 90])  # fewer samples than features, and more
def test_samples_and_moments_give_the_same_distance(n):
    x, y = correlated(4, n, 60), correlated(5, n + 5, 60)
    assert frechet.distance_of_samples(x, y) == pytest.approx(
        frechet.distance_of_moments(state_of(x), state_of(y)), rel=1e-11
    )


def test_streaming_in_float64_survives_a_large_mean():
    x = np.random.RandomState(0).randn(5000, 4) + 1000
    state = state_of(x)
    x32 = x.astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(
        frechet.mean_and_covariance(state)[1], np.cov(x32, rowvar=False), rtol=1e-7, atol=1e-8
    )


def test_one_image_has_no_covariance():
    one, two = state_of(np.zeros((1, 3))), state_of(np.eye(3)[:2])
    with pytest.raises(ValueError, match="2 images, got 1"):
        fid.compute(one, two)
    with pytest.raises(ValueError, match="got 1 and 2"):
        frechet.distance_of_samples(np.zeros((1, 3)), np.eye(3)[:2])


def test_intra_fid_is_the_mean_over_classes():
    x, y = correlated(6, 90, 20), correlated(7, 120, 20)
    labels_x, labels_y = np.arange(90) % 3, np.arange(120) % 3
    each = [
        frechet.distance_of_moments(state_of(x[labels_x == c]), state_of(y[labels_y == c]))
        for c in range(3)
    ]
    got = intra_fid.compute(state_of(x, labels_x, intra_fid), state_of(y, labels_y, intra_fid))
    assert got == pytest.approx({"": np.mean(each), "worst": np.max(each)}, rel=1e-9)


def test_intra_fid_names_the_class_that_is_missing():
    x, y = correlated(6, 9, 20), correlated(7, 9, 20)
    real = state_of(y, np.arange(9) % 3, intra_fid)
    fake = state_of(x, np.zeros(9, int), intra_fid)
    with pytest.raises(ValueError, match="class 1: 0 generated, 3 real"):
        intra_fid.compute(fake, real)
    with pytest.raises(ValueError, match="classes"):
        intra_fid.compute(state_of(x, None, intra_fid), real)
