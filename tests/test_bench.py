"""`sagan bench` prints one object with the figures that scripts read."""

import json

from sagan import cli


def test_one_json_object(capsys):
    assert cli.main(["bench", "debug", "--repeats", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    train = found["train"]
    assert train["images_per_second"] * train["seconds_per_step"] == 16
    assert train["seconds_least"] <= train["seconds_median"] <= train["seconds_greatest"]
    assert train["flops_per_device"] > 1e6 and "unknown" in train["share_of_peak"]
    for section in ("sampling", "input"):
        assert found[section]["images_per_second"] > 0
    assert found["checkpoint"]["restore_seconds"] > 0


def test_absent_data_are_replaced_and_named(capsys):
    words = ["bench", "cifar10", "data.dir=/nowhere", "--repeats", "1", "--json"]
    small = ["model.g_channels=4", "model.d_channels=4", "model.attention=none"]
    assert cli.main([*words, *small, "train.batch_size=4", "train.d_steps_per_g_step=1"]) == 0
    out = capsys.readouterr()
    assert json.loads(out.out)["data"] == "synthetic"
    assert "measuring with synthetic images" in out.err
