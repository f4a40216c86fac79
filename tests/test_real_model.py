"""The page about the real pretrained policy is the one that its command writes from the record."""

import importlib.util
import json

import pytest

from tests.conftest import ROOT


def test_the_page_says_what_the_record_holds():
    path = ROOT / "benchmarks/results/real_model.json"
    if not path.is_file():
        pytest.skip("no record of a real model; make real-model writes it")
    spec = importlib.util.spec_from_file_location("real_model", ROOT / "benchmarks" / "real_model.py")
    real_model = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(real_model)
    page = (ROOT / "docs/results/real_model/README.md").read_text()
    assert page == real_model.page(json.loads(path.read_text()))
