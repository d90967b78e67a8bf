"""One pass over the images: by batches, by shares, by real processes."""

import json
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.stand_ins import SIZE, Cheap, FakeSampler

from sagan.config import Config, ModelConfig
from sagan.evaluation import evaluator, extract, protocols


def generated(num_images=90):
    config = Config(model=ModelConfig(image_size=SIZE, num_classes=4))
    labels = protocols.balanced_labels(num_images, [1, 1, 1, 1], 0)
    return evaluator.Generated(FakeSampler(config, 10), labels, num_images, 4, 0, None)


NAMES = ["fid", "is", "pr", "dc", "intra_fid"]


def computed(states):
    from sagan.evaluation import metrics

    scores = {}
    for metric in metrics.find(NAMES):
        state = states[metrics.state_name(metric)]
        values = metric.compute(state, state)
        scores |= {f"{metric.NAME}.{part}": value for part, value in values.items()}
    return scores


def folded(share, batch_size=16):
    from sagan.evaluation import metrics

    return extract.fold(
        generated(),
        metrics.find(NAMES),
        Cheap(),
        batch_size=batch_size,
        progress="test",
        share=share,
    )


def test_one_process_or_three_and_any_batch_size_give_the_same():
    from sagan.evaluation import metrics

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
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        import jax
        jax.distributed.initialize("127.0.0.1:{port}", 2, int(sys.argv[1]))
        from jax.experimental import multihost_utils
        multihost_utils.sync_global_devices("start")
        spec = importlib.util.spec_from_file_location("case", {str(Path(__file__))!r})
        case = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(case)
        from sagan.evaluation import extract, metrics
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
