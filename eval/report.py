"""Show evaluation runs as one HTML page: `python -m eval.report RUN [RUN...] --out page.html`.

The page has scores with intervals, scores by category, pass@k, outcomes, response lengths, and every response beside
its problem. It is one file that loads nothing from elsewhere. It holds at most 20,000 responses (the first ones of each
problem), 20,000 characters per response, and 40 MB of pictures whose longer side has 400 pixels.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlfr_mm.config_file import one_line_errors


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: the page is written; 2: the input cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m eval.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder of eval.run or eval.score --from")
    parser.add_argument("--out", required=True, type=Path, help="HTML file to write")
    parser.add_argument(
        "--data_root", type=Path, help="local mirror to read the images from (default: as the runs did)"
    )
    args = parser.parse_args(argv)
    with one_line_errors():
        from rlfr_mm.eval.engine.reporting import write_report

        size = write_report(args.runs, args.out, args.data_root)
    print(f"{args.out}: {size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
