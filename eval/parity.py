"""Grade published responses again and compare with the published verdicts: `python -m eval.parity DIR`.

DIR holds sets as JSON Lines, plain or gzipped: one row per response, with the benchmark's own verdict in
`official_correct`. Every set is graded by the official rule of its scorer, from the published extraction (or
prediction) and from the raw response. Exit status: 0 if every bar is reached; 1 if a bar is missed or nothing could be
compared; 2 if DIR cannot be read or a file cannot be written.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlfr_mm.config_file import one_line_errors


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status, as in the description of the module."""
    parser = argparse.ArgumentParser(prog="python -m eval.parity", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of published verdicts, *.jsonl or *.jsonl.gz")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures of every set to this file")
    parser.add_argument("--docs", type=Path, metavar="OUT", help="write a Markdown report with every disagreement")
    args = parser.parse_args(argv)
    with one_line_errors():
        from rlfr_mm.eval.engine import parity, parity_report, run_files

        results = parity.compare_folder(args.folder)
        if args.json:
            run_files.write_text(args.json, parity_report.parity_json(results))
        if args.docs:
            run_files.write_text(args.docs, parity_report.parity_markdown(results))
    print(parity_report.parity_table(results))
    return 1 if any(result.missed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
