"""`sagan bench` without a mode, and the arguments that it refuses."""

import collections
import json

import pytest

from sagan import cli
from sagan.bench import beside, children, idle, sweep, timing
from sagan.config import preset

SMALL = ["model.name=support.dense_pair", "train.batch_size=4"]


def test_one_json_object(capsys):
    assert cli.main(["bench", "debug", SMALL[0], "--repeats", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    train = found["train"]
    assert train["images_per_second"] * train["seconds_per_step"] == pytest.approx(16)
    order = ("least", "lower_quartile", "median", "upper_quartile", "greatest")
    seconds = [train[f"seconds_{name}"] for name in order]
    assert seconds == sorted(seconds)
    assert train["flops_per_device"] > 1e5 and "unknown" in train["share_of_peak"]
    assert 0 < train["share_of_measured_matmul"] < 1
    assert train["peak_bytes_per_device"] > train["temporary_bytes_per_device"] > 1e4
    for player in ("discriminator", "generator"):
        assert found["players"][player]["seconds_median"] > 0
    assert found["sampling"]["images_per_second"] > 0
    for stage in ("read", "feed", "decode"):
        speed = found["input"][stage]
        ratio = speed["images_per_second"] / train["images_per_second"]
        assert speed["times_what_training_takes"] == pytest.approx(ratio)
    assert found["checkpoint"]["restore_seconds"] > 0
    assert found["checkpoint"]["bytes"] > 10_000


def test_absent_data_are_replaced_and_named(capsys, tmp_path):
    words = ["bench", "cifar10", "data.dir=/nowhere", "--repeats", "1", "--json", *SMALL]
    words += ["train.d_steps_per_g_step=1", "--parts", "train", "--trace", str(tmp_path / "trace")]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"] == "synthetic" and "sampling" not in found
    # Five dispatches, one after the other. The device is idle only between them.
    assert 0 < found["train"]["busy_share"] < 1
    assert found["train"]["longest_idle_seconds"] > 0


def test_the_cost_of_safety_checks_is_turns_and_events(capsys):
    words = [
        "bench",
        "debug",
        "model.name=support.dense_pair",
        "--parts",
        "guard",
        "--repeats",
        "2",
    ]
    assert cli.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["guard"]
    assert found["share"] == pytest.approx(found["share_by_turns"] + found["share_of_events"])
    # debug logs every 5 steps, samples and saves every 10
    spread = found["log_line_seconds"] / 5 + found["samples_seconds"] / 10
    spread += found["manifest_seconds"] / 10
    share = spread / found["without_seconds_median"]
    assert 0 < share == pytest.approx(found["share_of_events"])
    assert 0 < found["host_seconds_median"] < found["with_seconds_median"]
    assert found["skipping_alone_seconds_median"] > 0


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (["--parts", "input", "--trace", "x"], ["--trace", "train"]),
        (["--out", "x.jpg"], ["x.jpg", ".png"]),
        (["--out", "/nowhere/x.png"], ["/nowhere"]),
        (["--sweep", "train.batch_size=8,many"], ["train.batch_size=8,many"]),
        (["--sweep", "train.batch=8"], ["train.batch"]),
        (["digits", "--sweep", "train.batch_size=8"], ["debug digits", "--sweep"]),
        (["digits", "--out", "x.png"], ["debug digits", "--out"]),
    ],
)
def test_what_cannot_be_measured_is_refused(words, facts, capsys):
    assert cli.main(["bench", "debug", *words]) == 2
    error = capsys.readouterr().err
    assert all(fact in error for fact in facts)


def test_a_number_below_1_is_refused(capsys):
    for option in ("--repeats", "--rounds", "--batch-size", "--limit"):
        with pytest.raises(SystemExit) as ended:
            cli.main(["bench", "debug", option, "0"])
        assert ended.value.code == 2
        assert ">= 1" in capsys.readouterr().err


OPTIONS = {
    "--parts": ["train"], "--features": [], "--start": [], "--trace": ["x"], "--repeats": ["2"],
    "--out": ["x.png"], "--batch-size": ["2"], "--rounds": ["2"], "--weights": ["x"],
    "--stages": ["agree"], "--limit": ["2"], "--dry-run": [],
}  # fmt: skip
MODES = {
    (): "parts features start trace repeats out",
    ("--attention",): "batch-size repeats out",
    ("--sweep", "train.batch_size=4"): "repeats out",
    ("--beside", "other"): "parts rounds repeats out",
    ("--against-cpu",): "",
    ("--against-float32", "x"): "weights",
    ("--suite", "x"): "stages limit dry-run",
}


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: " ".join(mode) or "none")
def test_an_option_that_a_mode_would_ignore_is_refused(mode, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for option, value in OPTIONS.items():
        if option[2:] not in MODES[mode].split():
            assert cli.main(["bench", "seed=1", *mode, option, *value]) == 2
            assert option in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_gaps_between_overlapping_intervals():
    found = idle.gaps([(4.0, 5.0), (0.0, 2.0), (1.0, 1.5), (4.5, 7.0), (9.0, 10.0)])
    assert found == {"busy_share": 0.6, "longest_idle_seconds": 2}
    assert idle.gaps([(1.0, 3.0)]) == {"busy_share": 1, "longest_idle_seconds": 0}


def test_a_device_in_a_profile_is_found_beside_its_host():
    Plane = collections.namedtuple("Plane", "name lines")
    Line = collections.namedtuple("Line", "name events")
    Event = collections.namedtuple("Event", "name start_ns duration_ns")

    def plane(name, **lines):
        return Plane(name, [Line(n, [Event(*event)]) for n, event in lines.items()])

    host = plane("/host:CPU", a=(idle.CPU_PROGRAM, 1e9, 2e9), b=("other", 0, 9e9))
    other = plane("/device:GPU:1", a=("k", 0, 1))
    gpu = plane("/device:GPU:0", **{"Stream #1(Compute)": ("k", 2e9, 3e9), "Copy": ("c", 0, 9e9)})
    tpu = plane("/device:TPU:0", **{"XLA Modules": ("p", 3e9, 1e9), "Steps": ("1", 0, 9e9)})
    assert idle.device_intervals([host]) == [(1, 3)]
    assert idle.device_intervals([host, other, gpu]) == [(2, 5)]
    assert idle.device_intervals([host, tpu]) == [(3, 4)]
    assert idle.device_intervals([plane("/host:CPU", b=("other", 0, 9e9))]) == []


def test_spread_of_times():
    found = timing.spread([4.0, 1.0, 2.0, 3.0, 5.0])
    assert list(found.values()) == [3, 2, 4, 1, 5]
    found = timing.rate(8, [4.0, 1.0, 2.0, 3.0, 5.0])
    assert found == {"images_per_second": 8 / 3, "images_per_second_quartiles": [2, 4]}
    assert timing.quartiles([2.0]) == (2, 2, 2)


def test_a_sweep_keeps_every_digit():
    ((number, config),) = sweep.configs(preset("debug"), "data.resident_bytes=123456789")
    assert number == config.data.resident_bytes == 123456789
    ((_, config),) = sweep.configs(preset("debug"), "guard.max_margin=1.23456789")
    assert config.guard.max_margin == 1.23456789


def test_turns_beside_a_command_have_quartiles_of_all_turns(monkeypatch):
    rates = iter([1.0, 10.0, 2.0, 10.0, 3.0, 10.0])

    def run(command, **_):
        found = timing.rate(1, [1 / next(rates)])
        return 0, json.dumps({"train": found} | found)

    monkeypatch.setattr(children, "run", run)
    found = beside.run(["debug"], ["other"], "train", rounds=3, repeats=1)["train"]
    assert found["images_per_second"] == 2
    assert found["images_per_second_quartiles"] == [1.5, 2.5]
