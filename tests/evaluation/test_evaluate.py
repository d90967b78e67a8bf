"""Scoring a run's checkpoints: what is filed, what is refused, watching."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from support.stand_ins import SIZE, Cheap, filed

from sagan import cli, data
from sagan.config import ConfigError
from sagan.evaluation import evaluate, evaluator, extract, metrics, protocols, reference, watch
from sagan.runs import checkpoint
from sagan.tasks.gan import sample


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


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_scores_that_cannot_be_filed_are_shown(workdir, capsys, words):
    (workdir / "eval").write_text("in the way")
    assert cli.main(["eval", str(workdir), *words]) == 1
    said = capsys.readouterr()
    assert "fid64" in said.out
    assert not words or json.loads(said.out)["step"] == 30
    last = said.err.strip().splitlines()[-1]
    assert last.startswith(f"sagan: the scores could not be filed in {workdir}: ")
    assert "Traceback" not in said.err


@pytest.mark.parametrize("psi", ["0", "-3", "1.5", "nan"])
def test_truncation_is_checked_first(workdir, capsys, monkeypatch, psi):
    monkeypatch.setattr(evaluate, "run", lambda *_, **__: pytest.fail("work was done"))
    assert cli.main(["eval", str(workdir), f"--truncation={psi}"]) == 2
    assert f"--truncation {float(psi)}; allowed: (0, 1]" in capsys.readouterr().err


def test_a_step_is_scored_once_it_has_what_its_config_asks_for(workdir):
    made = evaluator.evaluator_of(checkpoint.read_config(workdir))
    assert not evaluate.is_scored(workdir, 30, made)
    evaluate.run(workdir, step=30, num_images=100)
    evaluate.run(workdir, step=30, metrics=["fid"])
    assert not evaluate.is_scored(workdir, 30, made)
    evaluate.run(workdir, step=30, evaluator=made)
    assert evaluate.is_scored(workdir, 30, made)


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


def write_classes(root, names):
    """Writes four images a class, and eight of the first."""
    for number, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(4 if number else 8):
            Image.new("RGB", (SIZE, SIZE), (50 + i,) * 3).save(root / name / f"{i}.png")
    return str(root)


def test_a_reference_s_classes_are_matched_by_name(workdir, tmp_path):
    config = checkpoint.read_config(workdir)
    names = ["hue2", "hue0", "hue1", "hue3"]  # of which hue2 has twice as many
    folder = write_classes(tmp_path / "real", names)
    made = evaluator.evaluator_of(config, reference=folder)
    assert made.reference.class_names == ("hue0", "hue1", "hue2", "hue3")
    assert np.bincount(made.labels(20, 4, 0)).tolist() == [4, 4, 8, 4]
    few = evaluator.evaluator_of(config, reference=write_classes(tmp_path / "few", names[:2]))
    assert np.bincount(few.labels(30, 4, 0)).tolist() == [10, 0, 20]


def test_a_reference_with_other_classes_is_refused(workdir, tmp_path, monkeypatch):
    folder = write_classes(tmp_path / "real", ["cat", "dog"])
    with monkeypatch.context() as patch:
        patch.setattr(reference, "of", lambda *_, **__: pytest.fail("work was done"))
        with pytest.raises(ConfigError, match="folder:real has classes cat, dog; .* are: hue0, hu"):
            evaluate.run(workdir, reference=folder)
    flat = evaluate.run(workdir, reference=f"{folder}/cat")
    assert flat[0]["protocol"]["num_real"] == 8
    config = checkpoint.read_config(workdir)
    free = dataclasses.replace(config.model, num_classes=None)
    unconditional = dataclasses.replace(config, model=free)
    made = evaluator.evaluator_of(unconditional, reference=folder)
    assert made.labels(10, None, 0) is None


def saved(path, folder):
    network = Cheap()
    images = reference.open_images(folder)
    made = reference.of(images, metrics.find(["fid"]), network, batch_size=8, share=extract.Share())
    reference.save(path, made, network)
    return str(path)


def test_saved_statistics_need_no_data_but_the_same_classes(workdir, tmp_path, monkeypatch):
    names = ["hue0", "hue1", "hue2", "hue3"]
    file = saved(tmp_path / "real.npz", write_classes(tmp_path / "real", names))
    other = saved(tmp_path / "other.npz", write_classes(tmp_path / "other", ["cat", "dog"]))
    flat = saved(tmp_path / "flat.npz", str(tmp_path / "real" / "hue0"))
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("the data was opened"))
    for reference_file in (file, flat):
        (row,) = evaluate.run(workdir, reference=reference_file, metrics=["fid"])
        assert row["metrics"]["fid64"] > 0
    with pytest.raises(ConfigError, match="folder:other has classes cat, dog; the generator's"):
        evaluate.run(workdir, reference=other, metrics=["fid"])
    with pytest.raises(ConfigError, match="--num-real: .*real.npz is whole as it was saved"):
        evaluate.run(workdir, reference=file, metrics=["fid"], num_real=10)


def test_seeds_fit_in_32_bits(workdir, monkeypatch, capsys):
    monkeypatch.setattr(evaluator, "evaluator_of", lambda *_, **__: pytest.fail("work was done"))
    with pytest.raises(SystemExit, match="2"):
        cli.main(["eval", str(workdir), "--seeds", "0,4294967296"])
    assert "wanted numbers below 2**32" in capsys.readouterr().err


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
