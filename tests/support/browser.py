"""A headless Chromium that opens files and runs scripts in them, over the DevTools protocol.

It is driven through a pair of pipes, so no port is opened and no package is needed.
"""

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

COMMAND = shutil.which("chromium-headless-shell")
_PATIENCE = 120  # seconds without a word from the browser
needed = pytest.mark.skipif(COMMAND is None, reason="chromium-headless-shell is not installed")


class Browser:
    """Opens one page at a time; remembers what went wrong in it and what it asked for.

    Attributes:
      errors: errors of scripts, of the console and of the content security policy.
      requests: addresses that were asked for, without those that hold their own data.
    """

    def __init__(self):
        self._profile = tempfile.mkdtemp(prefix="browser-")
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()
        # The pipes must be the files 3 and 4, which Popen cannot say; sh knows one digit.
        script = f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}'
        options = [
            "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--disable-dev-shm-usage",  # which is small in containers
            f"--user-data-dir={self._profile}", "--force-color-profile=srgb",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", str(COMMAND), *options, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._numbers, self._rest, self._session = itertools.count(1), b"", None
        self.errors, self.requests = [], []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)
        shutil.rmtree(self._profile, ignore_errors=True)

    def call(self, method, **params):
        """Calls a method of the protocol; returns its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _read(self):
        while b"\0" not in self._rest:
            assert select.select([self._in], [], [], _PATIENCE)[0], "the browser does not answer"
            part = os.read(self._in, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        one, _, self._rest = self._rest.partition(b"\0")
        message = json.loads(one)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, method, about):
        if method == "Runtime.exceptionThrown":
            self.errors.append(about["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning"):
            self.errors.append(about["args"])
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.errors.append(about["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            url = about["request"]["url"]
            self.requests += [] if url.startswith("data:") else [url]
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(self, path: Path, *, dark=False, width=1280, height=900):
        """Opens a file and waits until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.errors, self.requests, self._loaded = [], [], False
        self.call("Page.navigate", url=path.absolute().as_uri())
        while not self._loaded:
            self._read()

    def run(self, script, *, seconds=60):
        """Returns the value of an expression, also of a promise, in the page; ends a longer one."""
        how = {"returnByValue": True, "awaitPromise": True, "timeout": 1000 * seconds}
        found = self.call("Runtime.evaluate", expression=script, **how)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path: Path, *, whole=False, format="png", quality=None):
        """Writes a picture of what is seen, or of the whole page."""
        how = {} if quality is None else {"quality": quality}
        shot = self.call(
            "Page.captureScreenshot", format=format, captureBeyondViewport=whole, **how
        )
        path.write_bytes(base64.b64decode(shot["data"]))
