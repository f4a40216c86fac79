"""A run that nothing happens to, for all tests of faults to compare with."""

from collections.abc import Iterator
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from tests.faults import tiny_run


@pytest.fixture(scope="module")
def offline() -> Iterator[None]:
    """Records and pictures that are not on this machine would be asked of the hub, which no test waits for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        patch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="session")
def config(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run.write_config(tiny_policy, tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="session")
def whole(config: Path) -> Path:
    """The folder of the undisturbed run."""
    run = config.parent / "whole"
    assert tiny_run.finish(tiny_run.train(config, run)) == 0, "\n".join(tiny_run.log_of(run)[-20:])
    return run
