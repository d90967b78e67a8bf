"""The preset `cifar10` on the real CIFAR-10, read as prepared, without TensorFlow."""

import json
import sys

from support import processes, runs


def test_trains_without_tensorflow(test_data, tmp_path):
    words = [
        "train", "cifar10", f"data.dir={test_data / 'tfds'}", "data.split=test",
        "train.steps=2", "train.batch_size=8", "train.d_steps_per_g_step=1",
        "train.steps_per_dispatch=1", "log.every_steps=1", "sample.every_steps=0",
        "checkpoint.statistics_batches=1", "model.name=support.dense_pair",
        "--workdir", str(tmp_path / "run"),
    ]  # fmt: skip
    code = (
        f"import sys; from sagan import cli; assert cli.main({words!r}) == 0\n"
        "assert not [m for m in sys.modules if m.split('.')[0] == 'tensorflow']"
    )
    done = processes.run([sys.executable, "-c", code], runs.environment(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    assert json.loads(lines[1])["loss/d"] != json.loads(lines[0])["loss/d"]
