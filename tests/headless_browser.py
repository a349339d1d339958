"""A headless Chromium that a test drives by the DevTools protocol over two pipes, without further packages."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
REQUIRED = "JAXSTRUC_REQUIRE_BROWSER"
"""Variable of the environment that makes a missing browser a failure. Without it, tests are skipped."""
FLAGS = (  # without WebGL, so that no figure may need it
    *"--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking".split(),
    *"--disable-component-update --disable-sync --disable-dev-shm-usage --disable-3d-apis --hide-scrollbars".split(),
)
CONNECT_PIPES = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execv(sys.argv[3], sys.argv[3:])"
)
"""Program that starts the browser, which reads commands from the file descriptor 3 and writes answers to 4."""
TIMEOUT = 40.0
"""Longest time in s for an answer of the browser."""


def browser_path() -> str:
    """Return the path of an installed Chromium or Chrome. Without one, the test is skipped, or fails if required."""
    path = next((path for name in NAMES if (path := shutil.which(name))), None)
    if path is None:
        reason = f"no browser is installed: one of {', '.join(NAMES)}"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


class Browser:
    """One page of a headless browser. It records the errors, the messages of the console and the requests."""

    def __init__(self, process: subprocess.Popen, command_pipe: int, answer_pipe: int) -> None:
        """Attach to a page."""
        self.process, self.command_pipe, self.answer_pipe = process, command_pipe, answer_pipe
        self.buffer, self.events, self.session, self.number = b"", [], "", 0
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        answer = self.exchange(method, parameters)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def exchange(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Send a command and return the answer, which may be an error. Events that arrive before are recorded."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        message |= {"sessionId": self.session} if self.session else {}
        os.write(self.command_pipe, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                return answer

    def receive(self) -> dict[str, Any]:
        """Return the next message of the browser, and record it if it is an event."""
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.answer_pipe], [], [], TIMEOUT)
            block = os.read(self.answer_pipe, 1 << 20) if ready else b""
            assert block, "the browser does not answer"
            self.buffer += block
        text, _, self.buffer = self.buffer.partition(b"\0")
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, path: Path, *, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Open a file in a window of this size, and forget the earlier events."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true in the page. While a page is loaded, the answer may be an error."""
        end = time.monotonic() + TIMEOUT
        parameters = {"expression": f"Boolean({expression})", "returnByValue": True}
        while not self.exchange("Runtime.evaluate", parameters).get("result", {}).get("result", {}).get("value"):
            assert time.monotonic() < end, expression
            time.sleep(0.02)

    def mouse(self, kind: str, x: float, y: float) -> None:
        """Move, press or release the left button of the mouse."""
        self.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1,
            buttons=0 if kind == "mouseReleased" else 1,
        )  # fmt: skip

    def key(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, **({"text": "\r"} if key == "Enter" else {}))

    def screenshot(self, path: Path, *, whole_page: bool = False) -> None:
        """Write a picture of the window, or of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole_page)
        path.write_bytes(base64.b64decode(answer["data"]))

    @property
    def errors(self) -> list[Any]:
        """Errors and warnings of the page, and exceptions of its scripts."""
        self.evaluate("0")  # earlier events arrive before the answer
        entries = [event["params"] for event in self.events]
        return [
            entry
            for event, entry in zip(self.events, entries, strict=True)
            if event["method"] == "Runtime.exceptionThrown"
            or (event["method"] == "Log.entryAdded" and entry["entry"]["level"] in ("error", "warning"))
            or (event["method"] == "Runtime.consoleAPICalled" and entry["type"] in ("error", "warning", "assert"))
        ]

    @property
    def requests(self) -> list[str]:
        """Addresses that the page requested, without those of its own file and of data in the page."""
        self.evaluate("0")
        sent = [event["params"] for event in self.events if event["method"] == "Network.requestWillBeSent"]
        addresses = [entry["request"]["url"] for entry in sent if entry["type"] != "Document"]
        return [address for address in addresses if not address.startswith(("data:", "blob:"))]


@contextlib.contextmanager
def headless_browser(path: str, profile_folder: Path) -> Iterator[Browser]:
    """Start a browser with an empty profile, and end it at the end.

    Args:
        path: Path of the program.
        profile_folder: Folder of the profile.
    """
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 100) for descriptor in (command_read, answer_write)]
    command = [path, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={profile_folder}", "about:blank"]
    process = subprocess.Popen(
        [sys.executable, "-c", CONNECT_PIPES, *map(str, high), *command],
        pass_fds=high, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for descriptor in (command_read, answer_write, *high):
        os.close(descriptor)
    try:
        yield Browser(process, command_write, answer_read)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        os.close(command_write)
        os.close(answer_read)
