"""Nothing that a run, a model or a dataset says runs in the browser: payloads in every text of both pages' records."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from rlfr_mm import inspect
from rlfr_mm.eval import report
from rlfr_mm.eval.engine import records
from rlfr_mm.eval.engine.records import Manifest, SampleRow
from rlfr_mm.viewing.rollout_records import RolloutRecord
from tests.conftest import Chromium
from tests.eval.export_runs import BOARDS, DRAWN, make_run

PAYLOADS = [
    "javascript:alert(1)",
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</textarea></title></style></pre></code><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<img src=`x` onerror=alert`1`>",
    "<svg onload=alert(1)>",
    "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<svg><script>alert&lpar;1&rpar;</script></svg>",
    "<math><mtext></form><mglyph><style></math><img src onerror=alert(1)>",
    "<body onpageshow=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<iframe srcdoc='<script>parent.alert(1)</script>'></iframe>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<object data=javascript:alert(1)></object>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<form action=javascript:alert(1)><button>x</button></form>",
    "<base href=//evil.example/><link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)' x='",
    "\" onfocus=\"alert(1)\" autofocus x=\"",
    "`-alert(1)-`${alert(1)}",
    "{{ 7 * 7 }}{% raw %}{{ ''.__class__ }}${7*7}",
    "'-alert(1)-'\\';alert(1);//",
    "\\u003cimg src=x onerror=alert(1)\\u003e",
    "\u2028alert(1)\u2029</ScRiPt\n><ScRiPt>alert(1)</ScRiPt>",
    "<!--><script>alert(1)</script>--><![CDATA[<script>alert(1)</script>]]>",
    "<style>@import '//evil.example/x.css';*{background:url(//evil.example/y)}</style>",
    "red;background:url(//evil.example/z);x:expression(alert(1))",
    "%3Cscript%3Ealert(1)%3C/script%3E&lt;script&gt;alert(1)&lt;/script&gt;",
]  # fmt: skip
WAYS = ["together", "one by one"]

# Uses everything that can be used, also what should not be there: events of all kinds reach every element.
USE = """(async () => {
    const again = () => new Promise(resolve => setTimeout(resolve, 20));
    for (const box of document.querySelectorAll('select')) {
        for (const option of [...box.options]) {
            box.value = option.value;
            box.dispatchEvent(new Event('change', {bubbles: true}));
        }
        box.selectedIndex = 0;
        box.dispatchEvent(new Event('change', {bubbles: true}));
    }
    for (const field of document.querySelectorAll('input[type=search], input[type=text], input:not([type])')) {
        for (const text of ['<img src=x onerror=alert(1)>', '']) {
            field.value = text;
            field.dispatchEvent(new Event('input', {bubbles: true}));
            await again();
        }
    }
    for (const part of document.querySelectorAll('details')) part.open = true;
    await again();
    for (const element of [...document.querySelectorAll('body *')].slice(0, 1000))
        for (const name of ['pointerover', 'mouseover', 'focus', 'toggle', 'load', 'error'])
            element.dispatchEvent(new Event(name, {bubbles: true}));
    for (const element of [...document.querySelectorAll('button, th, summary, img')].slice(0, 50)) element.click();
    await again();
    await again();
})()"""
FOREIGN = """[
    document.scripts.length,
    ...['iframe', 'object', 'embed', 'base', 'form[action]', 'video', 'math', 'animate', 'link[rel=stylesheet]'].map(
        name => document.querySelectorAll(name).length),
    [...document.querySelectorAll('*')].filter(element => [...element.attributes].some(
        one => one.name.startsWith('on') ||
            (/^(href|src|action|formaction|data|xlink:href)$/.test(one.name) && /^\\s*javascript:/i.test(one.value))
    )).length,
]"""


class Planted:
    """Hands out payloads for one text after another, and counts the texts."""

    def __init__(self, way: str):
        self.way, self.count = way, 0

    def text(self) -> str:
        self.count += 1
        return "".join(PAYLOADS) if self.way == "together" else PAYLOADS[self.count % len(PAYLOADS)]

    def everywhere(self, value: Any, accepted: Callable[[], Any] = lambda: None) -> None:
        """Put payloads in place of every text in a JSON value, apart from those that `accepted` then refuses."""
        places = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in list(places):
            if isinstance(inner, str):
                value[key] = self.text()
                try:
                    accepted()
                except (ValidationError, ValueError):
                    value[key] = inner
            else:
                self.everywhere(inner, accepted)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON Lines file, which are written back after each was changed."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    yield from rows
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _opened(page: Path, chromium: Chromium) -> None:
    """Open the page, use all of it, and check that nothing ran, loaded or became markup."""
    chromium.open(page.as_uri())
    chromium.evaluate(USE)
    assert chromium.dialogs == [] and chromium.requests == [] and chromium.errors == []
    assert chromium.evaluate(FOREIGN) == [2] + [0] * 10
    assert "alert(1)" in chromium.evaluate("document.body.textContent")


def _hostile_run(whole: Path, folder: Path, way: str) -> Path:
    """A copy of a training run with payloads in every text that it holds, and in the name of its folder."""
    planted = Planted(way)
    run = Path(shutil.copytree(whole, folder / "<img src=x onerror=alert(1)>"))
    for name in ("config.yaml", "summary.json"):
        values = yaml.safe_load((run / name).read_text())
        values.pop("sha256", None)
        planted.everywhere(values)
        (run / name).write_text(json.dumps(values))
    for row in _rows(run / "metrics.jsonl"):
        row |= {planted.text(): 0.5, f"rewards/{planted.text()}/mean": 0.5}
    (run / "rollouts" / "checksums.jsonl").unlink()
    for path in (run / "rollouts").glob("0*.jsonl"):
        for row in _rows(path):
            row["rewards"] |= {planted.text(): 1.0}
            planted.everywhere(row, lambda row=row: RolloutRecord.model_validate(row))
        with path.open("a") as file:
            file.write(json.dumps({planted.text(): 1}) + "\n")  # a message about it is on the page
    assert planted.count > 300
    return run


@pytest.mark.parametrize("way", WAYS)
def test_nothing_in_a_training_run_runs_in_the_browser(way: str, whole: Path, tmp_path: Path, chromium: Chromium):
    run = _hostile_run(whole, tmp_path, way)
    inspect.main([str(run), "--out", str(tmp_path / "one.html")])
    _opened(tmp_path / "one.html", chromium)
    inspect.main([str(run), str(whole), "--out", str(tmp_path / "two.html")])
    _opened(tmp_path / "two.html", chromium)


@pytest.mark.parametrize("way", WAYS)
def test_nothing_in_an_evaluation_runs_in_the_browser(way: str, tmp_path: Path, chromium: Chromium, offline: None):
    planted = Planted(way)
    run = make_run(tmp_path / "<img src=x onerror=alert(1)>", BOARDS | DRAWN)
    manifest = json.loads((run / "manifest.json").read_text())
    planted.everywhere(manifest, lambda: Manifest.model_validate(manifest))
    manifest["model"]["args"][planted.text()] = planted.text()
    (run / "manifest.json").write_text(json.dumps(manifest))
    for path in run.rglob("samples.jsonl"):
        for row in _rows(path):
            task = row["task"]
            planted.everywhere(row, lambda row=row: SampleRow.model_validate(row))
            row |= {"task": task, "doc_hash": records.doc_hash(row["doc"])}  # or the row would be left out
    assert planted.count > 300
    second = shutil.copytree(run, tmp_path / "second")
    for number, folders in enumerate([[run], [run, second]]):
        out = tmp_path / f"{number}.html"
        assert report.main([*map(str, folders), "--out", str(out)]) == 0
        _opened(out, chromium)
