"""Rewrite everything that is made from the record files of experiments, benchmarks and runs.

    python -m rlfr_mm.results              # docs/results.md, and the tables and pictures under docs/results

Every figure in these files comes from a record file.
"""

import argparse
from pathlib import Path

from rlfr_mm.config_file import one_line_errors


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m rlfr_mm.results", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder",
        type=Path,
        nargs="?",
        default=Path("docs/results"),
        help="folder with the record files (default: %(default)s)",
    )
    folder = parser.parse_args(argv).folder

    from rlfr_mm.experiments.tables import write_results_page

    with one_line_errors():
        write_results_page(folder)


if __name__ == "__main__":
    main()
