"""Write the table of finished runs from their records: `python -m rlfr_mm.summaries FOLDER`.

FOLDER holds one summary.json per run, as FOLDER/NAME.json or FOLDER/NAME/summary.json; the table goes to
FOLDER/README.md. Every figure of the table is in a record, and every record says which command made it.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from rlfr_mm.config_file import one_line_errors


def table(summaries: dict[str, dict[str, Any]]) -> str:
    """Markdown: one row per run with held-out accuracy ± standard error before and after, and the seconds it took."""
    lines = [
        "| run | method | seed | steps | before | after | gain | minutes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, summary in summaries.items():
        before, after = summary["accuracy_before"], summary["accuracy_after"]
        gain = 100 * (after["accuracy"] - before["accuracy"])
        minutes = sum(summary["seconds"].values()) / 60
        cells = [name, summary["method"], summary["seed"], summary["steps"], _accuracy(before), _accuracy(after)]
        lines.append(f"| {' | '.join(map(str, cells))} | {gain:+.1f} | {minutes:.1f} |")
    first = next(iter(summaries.values()))
    n, cores = first["accuracy_after"]["n"], first["hardware"]["cpu_cores"]
    lines += ["", f"Accuracy in percent ± one standard error over {n} held-out problems, on {cores} CPU cores.", ""]
    lines += ["Made by:", "", *(f"- {name}: `{summary['command']}`" for name, summary in summaries.items())]
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    lines += ["", f"With {versions}."]
    return "\n".join(lines) + "\n"


def _accuracy(point: dict[str, Any]) -> str:
    return f"{100 * point['accuracy']:.1f} ± {100 * point['standard_error']:.1f}"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m rlfr_mm.summaries", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the records are, and where README.md goes")
    folder = parser.parse_args(argv).folder
    with one_line_errors():
        records = sorted([*folder.glob("*.json"), *folder.glob("*/summary.json")])
        if not records:
            raise ValueError(f"no summary.json under {folder}")
        names = [path.parent.name if path.name == "summary.json" else path.stem for path in records]
        summaries = {name: json.loads(path.read_text()) for name, path in zip(names, records, strict=True)}
    title = f"# {folder.name}\n\nWritten by `python -m rlfr_mm.summaries {folder}` from the records beside it.\n\n"
    (folder / "README.md").write_text(title + table(summaries))


if __name__ == "__main__":
    main()
