"""What every test may use: the folder of real records (RLFR_SHARED) and a headless Chromium; both skip where absent."""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Times of single examples say nothing on a busy machine; patterns over model text have a growth test of their own.
hypothesis.settings.register_profile("rlfr", deadline=None)
hypothesis.settings.load_profile("rlfr")

# A shell starts background jobs (`make test &`) with Ctrl-C ignored, which the commands under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """End with one line that says how many tests were skipped and why: a missing mirror or browser is seen."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reporter.stats.get("skipped", []))
    told = "; ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
    reporter.write_line(f"skipped {reasons.total()}: {told}" if reasons else "skipped 0")


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
    """A headless Chromium with one page, driven by Playwright.

    Of the page that `open` loaded last: `requests` are the addresses it asked for, itself aside, `dialogs` the texts it
    put up, `errors` the exceptions and the console's errors.
    """

    def __init__(self, browser: Any):
        self._browser, self._context, self._page = browser, None, None

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Load a page in a window of that size and wait until it and its images are there."""
        self.close()
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        self._context = self._browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            is_mobile=width < 600,
        )
        self._page = self._context.new_page()
        self._page.on("request", lambda request: self.requests.append(request.url))
        self._page.on("requestfailed", self._forget_if_blocked)
        self._page.on("dialog", self._dismiss)
        self._page.on("pageerror", lambda error: self.errors.append(str(error)))
        self._page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self._page.goto(url, wait_until="load")
        own = url.partition("#")[0]
        self.requests = [address for address in self.requests if address != own and not address.startswith("data:")]

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression in the page, awaited."""
        return self._page.evaluate(expression)

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Drag the mouse from one point of the window to another."""
        self._page.mouse.move(*start)
        self._page.mouse.down()
        self._page.mouse.move(*end, steps=4)
        self._page.mouse.up()

    def screenshot(self, path: Path, whole: bool = False) -> None:
        """Write the window as PNG, or the whole page however long."""
        self._page.screenshot(path=path, full_page=whole)

    def close(self) -> None:
        if self._context is not None:
            self._context.close()

    def _forget_if_blocked(self, request: Any) -> None:
        """What the page's content security policy stops is never sent."""
        if request.failure == "csp":
            self.requests.remove(request.url)

    def _dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """A real browser, for what only it can tell about a page."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium on the PATH; .ci/run installs it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        yield Chromium(browser)
        browser.close()
