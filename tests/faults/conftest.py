"""A run that nothing happens to, for all tests of faults to compare with."""

from pathlib import Path

import pytest

from tests.faults import tiny_run


@pytest.fixture(scope="session")
def config(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run.write_config(tiny_policy, tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def whole(config: Path) -> Path:
    """The folder of the undisturbed run."""
    run = config.parent / "whole"
    assert tiny_run.finish(tiny_run.train(config, run)) == 0, "\n".join(tiny_run.log_of(run)[-20:])
    return run
