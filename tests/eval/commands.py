"""Running evaluation commands inside the test process."""

from collections.abc import Callable, Sequence


def exit_status(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """The exit status of a command: bad input ends in SystemExit, as it does in the shell."""
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
