"""A tiny real policy and small runs of it, made once."""

import pytest

from rlfr_mm.eval import run
from rlfr_mm.eval.engine import run_files
from rlfr_mm.tasks import registry

GREEDY = {"max_new_tokens": 6, "temperature": 0.0, "top_p": 1.0, "do_sample": False, "until": []}
SAMPLED = GREEDY | {"temperature": 1.0, "do_sample": True}


@pytest.fixture(scope="session")
def policy(tmp_path_factory):
    from rlfr_mm.quickstart.policy import build_policy

    return build_policy(tmp_path_factory.mktemp("policy") / "final")


@pytest.fixture(scope="session")
def arguments(policy):
    """A run of a greedy and a sampled task: 2 greedy responses and 2 x 32 sampled ones, in batches of 10."""

    def build(folder, **changes):
        options = {
            "model": f"rlfr={policy},device=cpu",
            "tasks": "rlfr_quickstart_pass32,rlfr_quickstart",
            "limit": 2,
            "batch_size": 10,
            "gen_kwargs": "max_new_tokens=4",
            "output_dir": folder,
        } | changes
        return [part for key, value in options.items() if value is not None for part in (f"--{key}", str(value))]

    return build


@pytest.fixture(scope="session")
def finished(arguments, tmp_path_factory):
    """A run that was never stopped: its folder and its rows."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    assert run.main(arguments(folder)) == 0
    return folder, run_files.read_run(folder)


@pytest.fixture(scope="session")
def requests():
    """Four prompts of the drawn problems, each with its image."""
    from rlfr_mm.eval.engine.backends import Request

    spec = registry.task("rlfr_quickstart")
    docs = registry.load(spec)
    return [Request(i, spec.text(docs[i]), spec.messages(docs[i]), seed=100 + i) for i in range(4)]
