"""Write one HTML page about a training run: `python -m rlfr_mm.inspect RUN [--out page.html] [--json tables.json]`.

The page shows:

- learning curves
- what the deviation and the flow reward say about correctness beyond the policy's own probability
- the most rewarded and the most punished tokens
- every group of rollouts with its image, each token coloured by deviation, flow reward, advantage, entropy or
  log-probability

The page is one file that loads nothing from elsewhere. The command also works while the run is still in progress.
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
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of rlfr_mm.train")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page to write (default: RUN/inspect.html)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures of the page to this file")
    args = parser.parse_args(argv)

    from rlfr_mm.viewing import run_page

    with one_line_errors():
        run = run_page.read_run(args.run)
    page, notes, figures = run_page.render(run)
    out = args.out or args.run / "inspect.html"
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
