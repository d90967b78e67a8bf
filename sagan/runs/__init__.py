"""A work directory: what a run saves in it, and which process may write there.

| file | what it holds |
|---|---|
| `checkpoint.py` | saves and restores checkpoints; which run a work directory belongs to |
| `manifest.py` | verifies a checkpoint by size and SHA-256 of each of its files |
| `recovery.py` | chooses the step to resume from, and sets damaged checkpoints aside |
| `layout.py`, `versions.py` | how saved arrays differ from a model's; which packages saved them |
| `lock.py` | lets one training at a time use a work directory |
| `logs.py` | `metrics.jsonl`, journals of rare events |
| `trackers.py` | TensorBoard and others: a row for each |
"""
