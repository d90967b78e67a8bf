"""A captioning run from its data to captions of files."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from support.tiny import same_bits
from support.tiny_captions import CONFIG, Squares

import sagan
from sagan import cli, data, tasks
from sagan.config import ConfigError, make, replace
from sagan.config.exit_codes import BAD_INPUT, DONE
from sagan.evaluation import Scorer, ScoreSpec
from sagan.tasks import Health, Task
from sagan.tasks.captioning import files, pictures
from sagan.training import loop

HARD = replace(
    CONFIG, model={"attention": "hard"}, train={"length_buckets": 2}, checkpoint={"every_steps": 2}
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The work directory of a run of four steps with hard attention, scored at its end."""
    workdir = tmp_path_factory.mktemp("captions") / "run"
    config = replace(HARD, eval={"at_end": True}, log={"every_steps": 1})
    loop.run(config, workdir, owns_process=False)
    return workdir


def test_a_run_writes_scores_and_a_preview(run):
    scores = json.loads((run / "eval" / "4.json").read_text())["metrics"]
    assert {"bleu6", "bleu6_1", "exact_match6", "pointing6", "pointing6_mass"} <= scores.keys()
    with Image.open(run / "samples" / "4.png") as picture:
        about = json.loads(picture.text["sagan"])
    assert len(about["captions"]) == 2
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["loss/caption"] > 0 and lines[-1]["guard/alarms"] == 0


def test_a_resumed_run_ends_like_one_without_a_break(run, tmp_path):
    loop.run(replace(HARD, train={"steps": 2}), tmp_path, owns_process=False)
    loop.run(HARD, tmp_path, owns_process=False)
    there, resumed = sagan.load(run), sagan.load(tmp_path)
    assert same_bits(there.variables, resumed.variables) == []
    np.testing.assert_array_equal(resumed.variables["encoder"]["scale"], 2)  # of `load`


def test_a_checkpoint_captions_without_its_data(run):
    captioner = sagan.load(run)
    images, _ = data.read(Squares(), range(3))
    found, wide = captioner.caption(images), captioner.caption(images, beam=3)
    assert len(found.texts) == 3 and all(
        x >= y for x, y in zip(wide.log_p, found.log_p, strict=True)
    )
    for sentence, maps in zip(found.words, found.attention, strict=True):
        assert len(sentence) == len(maps) <= 4 and set(sentence) <= set(Squares.vocabulary)
        np.testing.assert_allclose(maps.sum((1, 2)), 1, rtol=1e-5)
    alone = captioner.caption(images[1:2])
    assert alone.texts[0] == found.texts[1]
    with pytest.raises(ConfigError, match="uint8"):
        captioner.caption(images.astype(np.float32))
    with pytest.raises(ConfigError, match="beam"):
        captioner.caption(images, beam=0)


def test_sagan_caption_writes_captions_and_panels(run, tmp_path, monkeypatch):
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(Squares()[3]["image"]).resize((16, 12)).save(folder / name)
    words = ["caption", str(run), "--images", str(folder), "--attention", "--beam", "2"]
    assert cli.main([*words, "--out", str(tmp_path / "out")]) == DONE
    found = json.loads((tmp_path / "out" / "captions.json").read_text())
    assert [row["image"] for row in found["captions"]] == [
        str(folder / n) for n in ("a.png", "b.png")
    ]
    assert found["beam"] == 2 and found["step"] == 4
    monkeypatch.chdir(folder)  # pictures of an earlier call below the images are not captioned
    inside = ["caption", str(run), "--images", ".", "--attention", "--out", "said"]
    for _ in range(2):
        assert cli.main(inside) == DONE
        again = json.loads((folder / "said" / "captions.json").read_text())
        assert [row["image"] for row in again["captions"]] == ["a.png", "b.png"]
        assert again["beam"] == CONFIG.model.beam
    written = found["captions"][0]
    with Image.open(tmp_path / "out" / written["attention"]) as picture:
        assert picture.width // picture.height >= len(written["caption"].split())


def test_images_are_never_overwritten(run, tmp_path, capsys):
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "0.png")
    words = ["caption", str(run), "--images", str(tmp_path), "--attention", "--out", str(tmp_path)]
    assert cli.main(words) == BAD_INPUT
    assert "0.png" in capsys.readouterr().err
    with Image.open(tmp_path / "0.png") as image:
        assert image.size == (8, 8)


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        (["--images", "nowhere"], "nowhere"),
        (["--images", "."], "no images"),
        (["--images", "notes.txt"], "notes.txt"),
        (["--images", "a.png", "--out", "a.png"], "a.png is a file"),
        (["--images", "a.png", "--out", "a.png/out"], "a.png/out"),
        (["--images", "a.png", "--step", "3"], "3"),
    ],
)
def test_sagan_caption_says_what_is_wrong(run, tmp_path, monkeypatch, capsys, words, fact):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    if "a.png" in words:
        Image.new("RGB", (8, 8)).save("a.png")
    given = [str(run), *words, *([] if "--out" in words else ["--out", "out"])]
    assert cli.main(["caption", *given]) in (BAD_INPUT, 4)
    assert fact in capsys.readouterr().err


def test_captions_of_other_scripts_are_printed_and_drawn(run, tmp_path, capsys):
    sampler = sagan.load(run)
    known = tuple(f"h\u00fcnd\u0915\u0941{n}" for n in range(len(sampler.vocabulary) - 2))
    other = dataclasses.replace(sampler, vocabulary=(*sampler.vocabulary[:2], *known))
    Image.new("RGB", (5, 40)).save(tmp_path / "thin.png")
    paths = files.find([tmp_path / "thin.png"], tmp_path / "out")
    (row,) = files.write(other, paths, tmp_path / "out", beam=1, attention=True)
    assert set(row["caption"].split()) <= set(known)
    with Image.open(tmp_path / "out" / "0.png") as picture:
        assert json.loads(picture.text["sagan"])["caption"] == row["caption"]


def test_long_captions_have_several_rows_of_panels():
    image, words = np.zeros((8, 8, 3), np.uint8), ["word"] * 30
    maps = np.full((30, 2, 2), 0.25, np.float32)
    whole = pictures.panels(image, words, maps)
    short = pictures.panels(image, words[:13], maps[:13])
    assert whole.shape[1] == short.shape[1] and len(whole) == 3 * len(short)


def test_verbs_refuse_runs_of_another_task(run, tmp_path, capsys):
    words = ["sample", str(run), "--out", str(tmp_path / "out")]
    assert cli.main(words) == BAD_INPUT
    assert "sagan caption" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(
        (run / "config.json").read_text().replace('"captioning"', '"gan"')
    )
    with pytest.raises(ConfigError, match="sagan sample"):
        tasks.require_verb(make(), "caption")


def test_the_task_is_whole():
    task = tasks.build(CONFIG)
    assert isinstance(task, Task) and isinstance(task.health(CONFIG.guard, Squares(), None), Health)
    assert isinstance(task.scorer(ScoreSpec.of(CONFIG.eval)), Scorer)
    assert task.activation_bytes(4) == 2 * task.activation_bytes(2) > 0


def test_one_caption_for_all_images_is_an_alarm():
    health = tasks.build(CONFIG).health(CONFIG.guard, Squares(), None)
    assert health.see(0, [1, 4]) == []
    assert [bool(health.see(step, [1, 4])) for step in (1, 2, 3, 4)] == [False, False, True, False]
    assert health.alarms and health.memory(4)["healthy"] is None
    assert health.see(5, [2, 4]) == [] and not health.alarms
    resumed = tasks.build(CONFIG).health(CONFIG.guard, Squares(), health.memory(6))
    assert resumed.last_healthy_step == 6


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model": {"encoder": "digitz"}}, "digits"),
        ({"model": {"encoder": "digits", "image_size": 25}}, "image_size=25"),
        ({"data": {"flip": True}}, "flip"),
        ({"model": {"vocabulary_size": "data"}}, "vocabulary_size"),
        ({"model": {"name": "sagan", "attention": (8,)}}, "show_attend_tell"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, named):
    with pytest.raises(ConfigError, match=named):
        tasks.check(replace(CONFIG, **changes))


def test_data_and_model_must_agree():
    config = replace(CONFIG, model={"vocabulary_size": "data", "max_words": "data"})
    resolved = data.resolve(config, Squares())
    assert (resolved.model.vocabulary_size, resolved.model.max_words) == (9, 4)
    with pytest.raises(ConfigError, match="model.max_words=7"):
        data.resolve(replace(CONFIG, model={"max_words": 7}), Squares())
    with pytest.raises(ConfigError, match="no captions"):
        data.resolve(CONFIG, data.load(make().data, 8))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"metrics": ("blue",)}, "bleu"),
        ({"truncation": 0.5}, "truncation"),
        ({"seeds": (1,)}, "seeds"),
    ],
)
def test_scores_that_captions_do_not_have_are_refused(changes, named):
    spec = dataclasses.replace(ScoreSpec.of(CONFIG.eval), **changes)
    with pytest.raises(ConfigError, match=named):
        tasks.build(CONFIG).scorer(spec)


def karpathy(folder):
    """Writes grey images with captions in Karpathy's format."""
    entries = []
    (folder / "images" / "val").mkdir(parents=True)
    for number in range(24):
        split = "val" if number >= 16 else "train"
        place = "val" if split == "val" else ""
        dark = number % 2
        image = Image.new("RGB", (12, 8), (40, 40, 40) if dark else (220, 220, 220))
        image.save(folder / "images" / place / f"{number}.png")
        words = ["a", "dark" if dark else "light", "image"]
        sentences = [{"tokens": words}, {"raw": f"{' '.join(words).capitalize()} {number}!"}]
        entries.append(
            {"filename": f"{number}.png", "split": split, "sentences": sentences}
            | ({"filepath": place} if place else {})
        )
    (folder / "dataset.json").write_text(json.dumps({"images": entries}))
    return entries


def test_a_folder_in_karpathys_format_trains_and_captions(tmp_path):
    karpathy(tmp_path)
    config = replace(
        CONFIG,
        data={
            "name": "karpathy",
            "dir": str(tmp_path),
            "min_word_count": 2,
            "resident_bytes": 0,  # read anew for each batch
            "workers": 0,
        },
        train={"length_buckets": 2},
        model={"vocabulary_size": "data", "max_words": "data"},
        eval={"metrics": ("bleu", "exact_match")},
    )
    captioner = sagan.train(config, tmp_path / "run")
    assert captioner.vocabulary == ("<end>", "<unknown>", "a", "image", "dark", "light")
    found = captioner.caption(np.zeros((1, 8, 8, 3), np.uint8))
    assert set(found.words[0]) <= set(captioner.vocabulary[2:])
    assert sagan.evaluate(tmp_path / "run").keys() >= {"bleu6", "exact_match6"}
    with pytest.raises(ConfigError, match="boxes"):
        sagan.evaluate(tmp_path / "run", metrics=["pointing"])
    sagan.evaluate(tmp_path / "run", reference="karpathy:train", num_images=3)
    (other,) = (tmp_path / "run" / "eval" / "others").glob("4.*.json")
    assert json.loads(other.read_text())["protocol"]["reference"] == "karpathy:train"
    for reference in ("train", "digits:train", "karpathy:"):
        with pytest.raises(ConfigError, match="tiny_captions:SPLIT or karpathy:SPLIT"):
            sagan.evaluate(tmp_path / "run", reference=reference)
    with pytest.raises(ConfigError, match="train, val"):
        sagan.evaluate(tmp_path / "run", reference="karpathy:test")


def test_errors_of_karpathys_format_name_file_and_entry(tmp_path):
    entries = karpathy(tmp_path)

    def load(**changes):
        return data.load(make(data={"name": "karpathy", "dir": str(tmp_path)} | changes).data, 8)

    source = load(split="train+val", min_word_count=1)
    assert len(source) == 24 and source[20]["fields"]["captions"].shape == (2, 5)
    with pytest.raises(ConfigError, match="train, val"):
        load(split="test")
    with pytest.raises(ConfigError, match="min_word_count"):
        load(min_word_count=100)
    (tmp_path / "images" / "3.png").rename(tmp_path / "away.png")
    with pytest.raises(ConfigError, match=r"1 of 16 images.*3\.png"):
        load(min_word_count=1)
    for broken in ("{", "[]", '{"images": 5}', '{"images": {"a": 1}}'):
        (tmp_path / "dataset.json").write_text(broken)
        with pytest.raises(ConfigError, match=r"dataset\.json"):
            load()
    (tmp_path / "dataset.json").write_text(json.dumps({"images": [entries[0], {"filename": "x"}]}))
    with pytest.raises(ConfigError, match=r"images\[1\]"):
        load()
    outside = entries[0] | {"filename": "../x.png"}
    (tmp_path / "dataset.json").write_text(json.dumps({"images": [outside]}))
    with pytest.raises(ConfigError, match="outside"):
        load()


def test_exhibits_show_where_each_word_was_looked_for(run, monkeypatch):
    captioner = sagan.load(run)
    for one in captioner.exhibits(2):
        (look,) = one.looks
        assert one.title.split() == list(look.words) and one.image.shape == (8, 8, 3)
        assert look.maps.shape == (len(look.words), 2, 2)
    monkeypatch.setattr("sagan.tasks.captioning.sampler.words", lambda *_: [])
    assert captioner.exhibits(2) == []  # nothing was written, so there is nothing to point at
