"""One HTML file from a template, a script and data: everything is inside the file, and it loads nothing.

- page.html: the skeleton that the template of a page extends; its policy lets no other script run and nothing load
- page.css: type, tables, charts and cards in light mode, dark mode and print
- browse.js: `el` and `browse`, which filter, sort, search and page through the data, one page of it in the document at
  a time
- plots.js: the line charts, drawn with uPlot, which lies in vendor/ with its license

Text from models enters a page in two ways only: through Jinja2, which escapes it, and through the data, which scripts
turn into text nodes.
"""

import base64
import hashlib
import io
import json
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL.Image import Image

KIT = Path(__file__).parent
STYLES = ("vendor/uPlot.min.css", "page.css")
SCRIPTS = ("vendor/uPlot.iife.min.js", "browse.js", "plots.js")


def render_page(template: Path, script: Path, title: str, data: Any, **context: Any) -> str:
    """The HTML text of a template that extends `page.html`.

    Args:
        template: Jinja2 file; it sees `context` and the filter `percent`.
        script: JavaScript file that runs after `SCRIPTS`; it gets the data from `pageData()`.
        title: title of the document.
        data: JSON value for the script.

    Raises:
        ValueError: the data contain nan or inf, which JSON cannot represent.
    """
    code = "\n".join(path.read_text(encoding="utf-8") for path in (*(KIT / name for name in SCRIPTS), script))
    loader = FileSystemLoader([KIT, template.parent])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}"
    return environment.get_template(template.name).render(
        title=title,
        style=Markup("\n".join((KIT / name).read_text(encoding="utf-8") for name in STYLES)),
        script=Markup(code),
        script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
        data=embedded_json(data),
        **context,
    )


def embedded_json(value: Any) -> Markup:
    """JSON to put inside a script element: no text in it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def thumbnail(image: Image, side: int) -> str:
    """The image as a data URI (WebP) whose longer side has at most `side` pixels."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=75)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
