"""A headless Chromium over its debugging pipe: enough to open the page, act on it and read it."""

import json
import select
import subprocess
import time
from pathlib import Path
from typing import Any, Final, final

PATIENCE: Final = 30.0
"""Seconds for an answer of the browser, or for the page to come to show what is waited for."""
FLAGS: Final = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
                "--disable-component-update", "--disable-dev-shm-usage", "--remote-debugging-pipe")  # fmt: skip
PIPES: Final = 'exec "$@" 3<&0 4>&1 0</dev/null 1>/dev/null'
"""The browser hears on file 3 and answers on file 4."""


@final
class Chromium:
    """One browser with one page."""

    def __init__(self, program: str, profile: Path) -> None:
        """Start it with a profile folder of its own."""
        command = ["sh", "-c", PIPES, "sh", program, *FLAGS, f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
        )
        self.sent, self.heard, self.session = 0, b"", ""
        self.troubles: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Ask the browser; RuntimeError when it refuses, TimeoutError when it is silent."""
        self.sent += 1
        told: dict[str, Any] = {"id": self.sent, "method": method, "params": parameters}
        told |= {"sessionId": self.session} if self.session else {}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(told).encode() + b"\0")
        end = time.monotonic() + PATIENCE
        while (answer := self._next(end)).get("id") != self.sent:
            if answer.get("method") == "Runtime.exceptionThrown":
                self.troubles.append(json.dumps(answer["params"]))
        if "error" in answer:
            raise RuntimeError(answer["error"])
        found: dict[str, Any] = answer["result"]
        return found

    def _next(self, end: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        while b"\0" not in self.heard:
            if not select.select([self.process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError("the browser does not answer")
            self.heard += self.process.stdout.read(1 << 20)
        first, self.heard = self.heard.split(b"\0", 1)
        found: dict[str, Any] = json.loads(first)
        return found

    def js(self, code: str) -> Any:
        """The value of an expression on the page."""
        answer = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, code: str) -> Any:
        """Until an expression on the page is true; TimeoutError shows what stands there instead."""
        end = time.monotonic() + PATIENCE
        while not (found := self.js(code)):
            if time.monotonic() > end:
                raise TimeoutError(f"{code}; the page: {self.js('document.body.innerText')}")
            time.sleep(0.05)
        return found

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
