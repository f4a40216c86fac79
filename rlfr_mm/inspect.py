"""Write one HTML page about training runs: `python -m rlfr_mm.inspect RUN [RUN ...] [--out page.html] [--serve]`.

The page shows:

- learning curves; those of several runs in the same charts, with the settings in which the runs differ
- what the deviation and the flow reward say about correctness beyond the policy's own probability
- the most rewarded and the most punished tokens
- every group of rollouts with its image, each token coloured by deviation, flow reward, advantage, entropy or
  log-probability

The page is one file that loads nothing from elsewhere. The command also works while a run is still in progress;
`--serve` shows the page in a browser on this machine and reads the runs again as they grow.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rlfr_mm.config_file import one_line_errors


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m rlfr_mm.inspect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, metavar="RUN", nargs="+", help="run folder of rlfr_mm.train")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page to write (default: inspect.html in RUN)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures of the page to this file")
    parser.add_argument(
        "--serve", type=int, metavar="PORT", nargs="?", const=8000, help="serve the page here and follow the runs"
    )
    args = parser.parse_args(argv)

    from rlfr_mm.viewing import run_page, serving

    with one_line_errors():
        runs = [run_page.read_run(path) for path in args.runs]
        if args.serve is not None:
            serving.serve(args.runs, args.serve)
            return
    page, notes, figures = run_page.render(runs)
    out = args.out or args.runs[0] / "inspect.html"
    with one_line_errors():
        _write(out, page)
        if args.json:
            _write(args.json, json.dumps(figures, default=asdict, indent=1) + "\n")
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    print(f"{out}: {len(page.encode()) / 1e6:.1f} MB")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from None


if __name__ == "__main__":
    main()
