"""What every test may use: the folder of real records, found through RLFR_SHARED and skipped where it is absent."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the dataset mirror, the published verdicts and the Qwen2.5-VL processor files."""
    folder = Path(os.environ.get("RLFR_SHARED", ROOT.parent / "shared")).resolve()
    if not folder.is_dir():
        pytest.skip(f"no shared data at RLFR_SHARED={folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded policy, untrained: a folder that loads with transformers."""
    from rlfr_mm.quickstart.policy import build_policy

    return build_policy(tmp_path_factory.mktemp("policy"))
