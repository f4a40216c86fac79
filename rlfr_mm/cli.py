"""What the commands share: the configuration file with its overrides, and errors of one line."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rlfr_mm.config_file import describe


def parser_for(program: str, doc: str, config_class: type) -> argparse.ArgumentParser:
    """`--config FILE [section.key=value ...]`, with every setting in the help."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=doc,
        epilog="settings (default): meaning\n" + "\n".join(describe(config_class)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="YAML file; lists only what differs")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="settings on top of the file's")
    return parser


@contextmanager
def one_line_errors() -> Iterator[None]:
    """For the part of a command that checks its input: a ValueError becomes `error: ...` and exit status 2.

    So does an ImportError: a setting may name what is not installed, an attention kernel for one.
    """
    try:
        yield
    except (ValueError, ImportError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
