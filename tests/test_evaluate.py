"""Scoring a run's checkpoints: what is filed, what is refused, watching, several processes."""

import importlib.machinery
import json
import socket
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import pytest

from sagan import checkpoint, evaluate, evaluator, extract, protocols, results, sample, watch
from sagan.config import Config, ConfigError, DataConfig, EvalConfig, ModelConfig, TrainConfig

SIZE = 8


class Cheap:
    """Stands in for a network: each output is a fixed random projection of the image."""

    name = "cheap"
    widths = {"pool": 6, "logits_unbiased": 6, "pool_768": 4}
    missing = {"spatial": "these weights lack a layer"}

    def __init__(self, resizer="tf"):
        self.fingerprint = {"features": "cheap", "weights_sha256": "00", "resizer": resizer}
        self.num_images = 0

    def __call__(self, images, outputs):
        self.num_images += len(images)
        x = images.reshape(len(images), -1).astype(np.float32) / 64
        return {name: x @ self._weights(name, x.shape[1]) for name in outputs}

    def _weights(self, name, size):
        random = np.random.RandomState(sum(name.encode()))
        return random.randn(size, self.widths[name]).astype(np.float32) / 4


class FakeSampler:
    """Draws noise whose mean gets closer to the data's, about 50, with each step."""

    def __init__(self, config, step):
        self.config, self.step, self.class_names = config, step, ("a", "b", "c", "d")

    def __call__(self, labels, indices, *, seed=0, truncation=None):
        mean = 200 - 5 * self.step
        return np.stack(
            [
                np.random.RandomState([seed, i, label])
                .normal(mean + 5 * label, 20, (SIZE, SIZE, 3))
                .clip(0, 255)
                .astype(np.uint8)
                for i, label in zip(indices, labels, strict=True)
            ]
        )


@pytest.fixture
def steps(monkeypatch):
    """The steps that have a checkpoint; tests add and remove some."""
    there = [10, 20, 30]
    monkeypatch.setattr(checkpoint, "steps", lambda workdir: sorted(there))
    monkeypatch.setattr(checkpoint, "damage", lambda workdir, step, items: "")

    def load(workdir, step=None):
        if step not in there:
            raise FileNotFoundError(step)
        return FakeSampler(checkpoint.read_config(workdir), step)

    monkeypatch.setattr(sample, "load", load)
    return there


@pytest.fixture
def workdir(tmp_path, monkeypatch, steps):
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
    module = types.ModuleType("cheap_network")
    module.__spec__ = importlib.machinery.ModuleSpec("cheap_network", None)
    module.load = lambda *, weights=None, resizer="tf": Cheap(resizer)
    monkeypatch.setitem(sys.modules, "cheap_network", module)
    config = Config(
        name="fake",
        data=DataConfig(name="synthetic"),
        model=ModelConfig(image_size=SIZE, num_classes=4),
        train=TrainConfig(steps=30),
        eval=EvalConfig(features="cheap_network", metrics=("fid", "is"), num_images=64),
    )
    checkpoint.claim(tmp_path / "run", config)
    return tmp_path / "run"


def filed(workdir: Path, step: int) -> dict:
    return json.loads((workdir / "eval" / f"{step}.json").read_text())


def test_a_result_says_what_it_was_measured_with(workdir, capsys):
    (result,) = evaluate.run(workdir)
    assert filed(workdir, 30) == json.loads(json.dumps(result))
    assert set(result["metrics"]) == {"fid64", "is64", "is64_sd"}
    protocol = result["protocol"]
    assert set(protocols.FIELDS) <= set(protocol)
    assert protocol["features"] == "cheap" and protocol["resizer"] == "tf"
    assert protocol["reference"] == "synthetic:train" and protocol["num_real"] == 512
    assert len(protocol["reference_sha256"]) == 64
    assert protocol["num_fake"] == 64 and protocol["seed"] == 0 and protocol["ema"] is True
    assert protocol["batch_norm"].startswith("standing") and protocol["quantisation"] == "round"
    table = capsys.readouterr().out
    assert "fid64" in table and " 30 " in table

    assert (workdir / "eval" / "metrics.png").read_bytes().startswith(b"\x89PNG")
    assert list((workdir / "eval").glob("events.out.tfevents.*"))


def test_json_is_alone_on_stdout(workdir, capsys):
    evaluate.run(workdir, as_json=True)
    assert json.loads(capsys.readouterr().out) == filed(workdir, 30)


def test_more_metrics_are_added_and_another_protocol_replaces(workdir, capsys):
    evaluate.run(workdir)
    evaluate.run(workdir, metrics=["fid_768"])
    assert set(filed(workdir, 30)["metrics"]) == {"fid64", "is64", "is64_sd", "fid_768_64"}
    capsys.readouterr()
    evaluate.run(workdir, metrics=["fid"], num_images=100)
    assert set(filed(workdir, 30)["metrics"]) == {"fid100"}
    assert "30.json replaces fid64=" in capsys.readouterr().err


def test_all_fills_in_what_is_missing(workdir, monkeypatch):
    evaluate.run(workdir, step=20)
    scored = []
    original = evaluator.evaluate_step
    monkeypatch.setattr(
        watch, "evaluate_step", lambda e, s, **kw: scored.append(s.step) or original(e, s, **kw)
    )
    rows = evaluate.run(workdir, step="all")
    assert scored == [10, 30]
    assert [row["step"] for row in rows] == [10, 20, 30]
    values = [row["metrics"]["fid64"] for row in rows]
    assert values == sorted(values, reverse=True)


def test_best_is_by_the_metric_and_among_equal_fingerprints(workdir):
    config = checkpoint.read_config(workdir)
    with pytest.raises(ConfigError, match=r"no fid \(eval.best_metric\).*measured: nothing"):
        evaluate.run(workdir, step="best")
    evaluate.run(workdir, step="all")
    assert results.best_step(workdir, config) == 30
    worse = filed(workdir, 20)
    worse["metrics"]["fid64"] = 0.0
    results.path_of(workdir, 20).write_text(json.dumps(worse))
    assert results.best_step(workdir, config) == 20
    worse["protocol"]["resizer"] = "clean"
    worse["metrics"] = {"clean_fid64": 0.0}
    results.path_of(workdir, 20).write_text(json.dumps(worse))
    assert results.best_step(workdir, config) == 30
    (row,) = evaluate.run(workdir, step="best", metrics=["is"])
    assert row["step"] == 30


def test_several_seeds_give_mean_and_spread(workdir):
    each = [evaluate.run(workdir, seeds=(s,))[0]["metrics"]["fid64"] for s in (0, 1, 2)]
    (row,) = evaluate.run(workdir, seeds=(0, 1, 2))
    assert row["metrics"]["fid64"] == pytest.approx(np.mean(each))
    assert row["metrics"]["fid64_seed_sd"] == pytest.approx(np.std(each, ddof=1))
    assert row["protocol"]["seed"] == [0, 1, 2]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"metrics": ["kid"]}, "kid needs at least 1000 generated images, got 64"),
        ({"metrics": ["kid"], "num_images": 1000}, "kid needs at least 1000 real images, got 512"),
        ({"num_images": 1}, "fid needs at least 2 generated images, got 1"),
        ({"metrics": ["sfid"]}, "sfid needs features 'spatial': these weights lack a layer; .*fid"),
        ({"metrics": ["classifier_fid"]}, "cheap has no such output"),
        ({"num_real": 513}, "has 512 images, asked for 513"),
        ({"features": "nothing"}, "features='nothing' is unknown; known: .*inception"),
    ],
)
def test_what_cannot_work_is_refused_before_the_work(workdir, monkeypatch, arguments, message):
    monkeypatch.setattr(watch, "evaluate_step", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(ConfigError, match=message):
        evaluate.run(workdir, **arguments)


def test_classes_are_needed_where_a_metric_reads_them(workdir):
    made = evaluator.evaluator_of(checkpoint.read_config(workdir), metrics=["intra_fid"])
    made.check(64, labelled=True)
    with pytest.raises(ConfigError, match="intra_fid needs images with classes"):
        made.check(64, labelled=False)


def test_few_images_are_scored_with_a_warning(workdir, capsys):
    (row,) = evaluate.run(workdir, metrics=["fid"], num_images=5)
    assert len(row["warnings"]) == 1 and "5 images for 6 features" in row["warnings"][0]
    assert "warning: fid: 5 images" in capsys.readouterr().out


def test_watching_fills_in_survives_pruning_and_ends_with_the_run(
    workdir, steps, monkeypatch, capsys
):
    steps[:] = [10, 20]
    original = sample.load

    def load(workdir, step=None):
        if step == 20:
            steps.remove(20)  # pruned between the look and the load
        return original(workdir, step)

    monkeypatch.setattr(sample, "load", load)
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: steps.append(30))
    rows = evaluate.run(workdir, watch=True)
    assert [row["step"] for row in rows] == [10, 30]
    assert "step 20 was pruned" in capsys.readouterr().err
    assert filed(workdir, 30)["metrics"] == rows[1]["metrics"]


def test_an_error_that_is_not_pruning_is_raised(workdir, monkeypatch):
    def load(workdir, step=None):
        raise OSError("disk on fire")

    monkeypatch.setattr(sample, "load", load)
    with pytest.raises(OSError, match="disk on fire"):
        evaluate.run(workdir, watch=True)


def test_watching_a_dead_training_ends_after_its_last_step(workdir, steps, capsys):
    steps[:] = [10, 20]  # of 30
    rows = evaluate.run(workdir, watch=True, watch_timeout_seconds=0.2)
    assert [row["step"] for row in rows] == [10, 20]
    assert "no new checkpoint for 0.2 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, number, part, resizer, expected",
    [
        ("fid", 50_000, "", "tf", "fid50k"),
        ("fid", 10_000, "", "tf", "fid10k"),
        ("fid", 2000, "", "tf", "fid2000"),
        ("pr", 50_000, "precision", "tf", "pr50k_precision"),
        ("fid_768", 2000, "", "tf", "fid_768_2000"),
        ("fid", 50_000, "", "clean", "clean_fid50k"),
    ],
)
def test_keys(name, number, part, resizer, expected):
    assert protocols.key(name, number, part, resizer=resizer) == expected


@pytest.mark.parametrize("counts", [[10, 10, 10], [100, 30, 1]])
def test_labels_are_as_frequent_as_real_ones_and_mixed(counts):
    labels = protocols.balanced_labels(1000, counts, seed=3)
    shares = 1000 * np.array(counts) / np.sum(counts)
    assert np.abs(np.bincount(labels, minlength=3) - shares).max() < 1
    assert np.abs(np.bincount(labels[:500], minlength=3) - shares / 2).max() < 40
    np.testing.assert_array_equal(labels, protocols.balanced_labels(1000, counts, seed=3))
    assert (labels != protocols.balanced_labels(1000, counts, seed=4)).any()


def generated(num_images=90):
    config = Config(model=ModelConfig(image_size=SIZE, num_classes=4))
    labels = protocols.balanced_labels(num_images, [1, 1, 1, 1], 0)
    return evaluator.Generated(FakeSampler(config, 10), labels, num_images, 4, 0, None)


NAMES = ["fid", "is", "pr", "dc", "intra_fid"]


def computed(states):
    from sagan import metrics

    scores = {}
    for metric in metrics.find(NAMES):
        state = states[metrics.state_name(metric)]
        values = metric.compute(state, state)
        scores |= {f"{metric.NAME}.{part}": value for part, value in values.items()}
    return scores


def folded(share, batch_size=16):
    from sagan import metrics

    return extract.fold(
        generated(),
        metrics.find(NAMES),
        Cheap(),
        batch_size=batch_size,
        progress="test",
        share=share,
    )


def test_one_process_or_three_and_any_batch_size_give_the_same():
    from sagan import metrics

    whole = folded(extract.Share())
    parts = [folded(extract.Share(i, 3), batch_size=7) for i in range(3)]
    merges = {metrics.state_name(m): m.merge for m in metrics.find(NAMES)}
    together = parts[0]
    for part in parts[1:]:
        together = {name: merges[name](part[name], together[name]) for name in merges}
    assert computed(together) == pytest.approx(computed(whole), rel=1e-6, abs=1e-9)


def test_two_real_processes_agree(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = f"""
        import importlib.util, json, sys
        import jax
        jax.distributed.initialize("127.0.0.1:{port}", 2, int(sys.argv[1]))
        from jax.experimental import multihost_utils
        multihost_utils.sync_global_devices("start")
        spec = importlib.util.spec_from_file_location("case", {str(Path(__file__))!r})
        case = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(case)
        from sagan import extract, metrics
        share = extract.Share.of_this_process()
        states = case.folded(share)
        merges = {{metrics.state_name(m): m.merge for m in metrics.find(case.NAMES)}}
        states = {{n: extract.merged(s, merges[n], share) for n, s in states.items()}}
        assert extract.everywhere([True, share.index == 0], share) == [True, False]
        print(json.dumps(case.computed(states)))
    """
    running = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), str(i)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in outputs)
    assert first == second
    assert first == pytest.approx(computed(folded(extract.Share())), rel=1e-6, abs=1e-9)
