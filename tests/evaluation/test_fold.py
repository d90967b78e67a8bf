"""One pass over the images: in batches of any size, by one process or several real ones."""

import json
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from support.stand_ins import SIZE, Cheap

from sagan.evaluation import metrics
from sagan.evaluation.fold import fold, merged_states

METRICS = metrics.find(["fid", "is", "pr", "dc", "intra_fid"])


class Noise:
    """Labelled images by position."""

    num_classes = 4

    def __len__(self):
        return 90

    def read(self, indices):
        pixels = [np.random.RandomState(i).randint(0, 256, (SIZE, SIZE, 3)) for i in indices]
        return np.stack(pixels).astype(np.uint8), np.asarray(indices) % 4


def computed(states):
    """Computes all metrics, with the states of the images as both sides."""
    scores = {}
    for metric in METRICS:
        state = states[metric.state_name]
        values = metric.compute(state, state)
        scores |= {f"{metric.name}.{part}": value for part, value in values.items()}
    return scores


def folded(batch_size=16, **processes):
    options = {"batch_size": batch_size, "progress": "test", **processes}
    return fold(Noise(), METRICS, Cheap(), **options)


def test_any_batch_size_and_any_number_of_processes_give_the_same():
    whole = folded()
    parts = [folded(batch_size=3, process=i, num_processes=3) for i in range(3)]
    merges = {metric.state_name: metric.accumulator.merge for metric in METRICS}
    together = parts[0]
    for part in parts[1:]:
        together = {name: merges[name](part[name], together[name]) for name in merges}
    assert computed(together) == pytest.approx(computed(whole), rel=1e-6, abs=1e-9)


def test_two_real_processes_agree():
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
        states = case.merged_states(case.folded(), case.METRICS)
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
    assert first == pytest.approx(computed(folded()), rel=1e-6, abs=1e-9)


def test_one_process_keeps_its_states():
    states = folded()
    assert merged_states(states, METRICS) == states
