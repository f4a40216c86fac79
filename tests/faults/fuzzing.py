"""What the fuzzing tests draw, and how many examples they draw of it.

`make test` draws the same examples each time. `make faults` draws many more (RLFR_FUZZ_EXAMPLES), which differ from run
to run; `benchmarks/guided_fuzzing.py` lets coverage guide them. What they find becomes an `@example` in the tests.
"""

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

fuzz = settings(
    max_examples=int(os.environ.get("RLFR_FUZZ_EXAMPLES", "50")),
    derandomize="RLFR_FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@functools.cache
def scratch() -> Path:
    """A folder for the files of this process. Not a fixture, because the tests also run outside of pytest."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def one_line(error: Exception) -> None:
    """AssertionError unless the message is one line that a user can read."""
    assert str(error) and "\n" not in str(error)
