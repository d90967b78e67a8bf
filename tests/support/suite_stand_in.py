"""Stands in for the interpreter that runs the steps of a suite."""

RATES = {"": 3, "--channels-last": 5, "--compile": 2, "--channels-last --compile": 4}
# Notes each command in `asked`. The variable FAILS names a training that fails. ENDS names a word
# whose commands end with which status, after how many seconds or when they are told to stop. All
# other trainings run until they are told to stop.
TEXT = """
import json, os, signal, sys, time
words, here = sys.argv[1:], {here!r}
if words[0] == "-c":
    sys.exit(int("NO_GPU" in os.environ))
with open(f"{{here}}/asked", "a") as file:
    print(json.dumps(words), file=file)
which, status, seconds = os.environ.get("ENDS", "- 0 0").split()
if which in words:
    def told(*_):
        open(f"{{here}}/stopped", "w").close()
        os._exit(int(status))
    signal.signal(signal.SIGTERM, told)
    print("no object", flush=True)
    time.sleep(int(seconds))
    sys.exit(int(status))
rate = {{"images_per_second": 1.0, "seconds_per_step": 1, "images_per_second_quartiles": [1, 1]}}
if words[0] == "peer.py":
    forms = " ".join(w for w in words if w in ("--channels-last", "--compile"))
    if "--bf16" in words:
        sys.exit(3)
    print(json.dumps({{"images_per_second": {rates!r}[forms]}}))
elif words[2:4] == ["train", os.environ.get("FAILS")]:
    sys.exit(3)
elif words[2] == "train":
    def stop(*_):
        time.sleep(0.5)
        open(f"{{here}}/saved", "a").write("x")
        sys.exit(42)
    signal.signal(signal.SIGTERM, stop)
    os.makedirs(words[-1], exist_ok=True)
    open(f"{{words[-1]}}/config.json", "w").close()
    time.sleep(600)
elif "--against-cpu" in words:
    rows = [{{"quantity": "x", "agrees": False}}]
    print(json.dumps({{"agree": False, "devices": "1 x X", "rows": rows}}))
    sys.exit(1)
elif "--against-float32" in words:
    print(json.dumps({{"within_noise": True, "seeds": [0], "metrics": {{"m": {{"p": 0.5}}}}}}))
elif "--sweep" in words or "--attention" in words:
    print(json.dumps({{"rows": [{{"value": 1, "share_of_peak": 0.5}}]}}))
else:
    print(json.dumps({{"config": "c", "dtype": "d", "batch_size": 1, "devices": "x", "train": rate,
                      "beside": [], "metrics": {{"fid_768_64": 7.25}}, "step": 3}}))
"""
