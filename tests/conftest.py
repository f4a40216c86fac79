"""What every test may use: the folder of real records (RLFR_SHARED) and a headless Chromium; both skip where absent."""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the dataset mirror, the published verdicts and the Qwen2.5-VL processor files."""
    folder = Path(os.environ.get("RLFR_SHARED", ROOT.parent / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no shared data at RLFR_SHARED={folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded policy, untrained: a folder that loads with transformers."""
    from rlfr_mm.quickstart.policy import build_policy

    return build_policy(tmp_path_factory.mktemp("policy"))


class Chromium:
    """A headless Chromium with one page, driven over its debugging pipe.

    Of the page that `open` loaded last: `requests` are the addresses it asked for, itself aside, `dialogs` the texts it
    put up, `errors` the exceptions and the console's errors.
    """

    FLAGS = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--remote-debugging-pipe",
    )

    def __init__(self, profile: Path):
        # The browser reads its descriptor 3 and writes 4; above 9, ours cannot be in the way when bash moves them.
        to_browser, from_browser = [[_above_nine(end) for end in os.pipe()] for _ in range(2)]
        start = f'exec chromium "$@" 3<&{to_browser[0]} 4>&{from_browser[1]}'
        self.process = subprocess.Popen(
            ["bash", "-c", start, "chromium", *self.FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser[0], from_browser[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        self._out, self._in = os.fdopen(to_browser[1], "wb", buffering=0), os.fdopen(from_browser[0], "rb")
        self._buffer, self._sent, self._session = b"", 0, None
        self._loaded = False
        self._asked: dict[str, str] = {}
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._call(f"{domain}.enable")

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of that size and wait until it and its images are there."""
        self._load("about:blank")  # an address that differs in its fragment alone would not load anew
        self._asked, self.dialogs, self.errors = {}, [], []
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._load(url)

    @property
    def requests(self) -> list[str]:
        return [address for address in self._asked.values() if address != self._address]

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression in the page, awaited."""
        answer = self._call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]["exception"]["description"]
        return answer["result"].get("value")

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write the window as PNG, or the whole page however long."""
        image = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(image["data"]))

    def close(self) -> None:
        self._session = None
        self._call("Browser.close")
        self.process.wait(20)

    def _load(self, url: str) -> None:
        self._loaded, self._address = False, url.partition("#")[0]
        self._call("Page.navigate", url=url)
        while not self._loaded:
            self._receive()

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._sent:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._in], [], [], 60)[0], "chromium has been silent for a minute"
            data = self._in.read1(1 << 20)
            assert data, "chromium has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        event, params = message.get("method"), message.get("params", {})
        if event == "Page.loadEventFired":
            self._loaded = True
        elif event == "Network.requestWillBeSent" and not params["request"]["url"].startswith("data:"):
            self._asked[params["requestId"]] = params["request"]["url"]
        elif event == "Network.loadingFailed" and params.get("blockedReason") == "csp":
            self._asked.pop(params["requestId"])  # the page's own policy stopped it before it left
        elif event == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            dismiss = {"id": 0, "method": "Page.handleJavaScriptDialog", "params": {"accept": False}}
            self._out.write(json.dumps(dismiss | {"sessionId": self._session}).encode() + b"\0")
        elif event == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"]["exception"].get("description", "exception"))
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        return message


def _above_nine(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 10)
    os.close(descriptor)
    return moved


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A real browser, for what only it can tell about a page."""
    if shutil.which("chromium") is None:
        pytest.skip("no chromium on the PATH; .ci/run installs it")
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()
