"""The documentation as a site. `make docs` builds it into site/html; its pages load nothing from elsewhere."""

from pathlib import Path
from typing import Any

import latex2mathml.converter
import yaml
from docutils import nodes
from sphinx.application import Sphinx

from rlfr_mm import __version__
from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import settings

HERE = Path(__file__).parent
SETTINGS = """# Settings

The settings of a training run, as `python -m rlfr_mm.train --help` prints them: what a YAML file holds, and what a
command line overrides as `section.key=value`. A file lists only what differs from the defaults. `train` also takes
every other setting of TRL's [GRPOConfig](https://huggingface.co/docs/trl/grpo_trainer#trl.GRPOConfig), with TRL's
default.

Sections: {links}.
"""

project = "rlfr_mm"
copyright = "the rlfr_mm authors, Apache-2.0"
version = release = __version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = [
    "results/*.md",
    "results/*/*.md",
    "results/*/*/*.md",
]  # parts of results.md, and records of single runs

html_theme = "furo"
html_title = "rlfr_mm"
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = "mathml"
html_static_path = ["site.css"]
html_css_files = ["site.css"]

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_fence_as_directive = ["math"]  # GitHub's ```math
nb_execution_mode = "off"  # the notebook is run by a test; the site shows it as it is

default_role = "code"  # docstrings write `name` as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
toc_object_entries = False
python_use_unqualified_type_names = True


def math_as_mathml(translator: Any, node: nodes.Element) -> None:
    """Write a formula as MathML, which browsers set without fonts or scripts."""
    if isinstance(node, nodes.math_block):
        block = latex2mathml.converter.convert(node.astext(), display="block")
        translator.body.append(f'<div class="formula">{block}</div>')  # scrolls by itself where it is too wide
    else:
        translator.body.append(latex2mathml.converter.convert(node.astext()))
    raise nodes.SkipNode


def write_settings(app: Sphinx) -> None:
    """Write settings.md, one table per section, from the declarations in rlfr_mm.config."""
    rows: dict[str, list[str]] = {}
    off = {setting.name: setting.help for setting in settings(RunConfig) if setting.switches_on}
    for setting in settings(RunConfig):
        section, _, key = setting.name.rpartition(".")
        if not setting.switches_on:
            cells = [f"`{key}`", f"`{yaml_text(setting.default)}`", setting.help, setting.allowed]
            rows.setdefault(section, []).append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    page = SETTINGS.format(links=", ".join(f"[{name}](#{name.replace('.', '')})" for name in rows if name))
    for section, lines in rows.items():
        note = f"{off[section].capitalize()}. Off unless one of these is set.\n\n" if section in off else ""
        table = "| key | default | meaning | allowed |\n|---|---|---|---|\n" + "\n".join(lines)
        page += f"\n## {section or 'Whole run'}\n\n{note}{table}\n"
    (HERE / "settings.md").write_text(page)


def yaml_text(value: Any) -> str:
    """The value as it stands in a YAML file."""
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()


def diagrams_as_literals(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Mark the indented diagrams in docstrings of modules as literal text, which reStructuredText asks for."""
    if what != "module":
        return
    for number in range(len(lines) - 1, 0, -1):
        if lines[number].startswith("    ") and not lines[number - 1] and not lines[number - 2].startswith(" "):
            lines[number:number] = ["::", ""]


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (math_as_mathml, None), (math_as_mathml, None))
    app.connect("builder-inited", write_settings)
    app.connect("autodoc-process-docstring", diagrams_as_literals)
