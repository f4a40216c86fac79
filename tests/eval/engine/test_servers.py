"""A real server, `transformers serve`, whose checkpoint asks for top_k 1: sampled responses differ all the same."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import openai
import pytest

from rlfr_mm.eval import run
from rlfr_mm.eval.engine import run_files
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def served(policy, tmp_path_factory):
    """The address of the server and the name of its model."""
    folder = tmp_path_factory.mktemp("served") / "policy"
    shutil.copytree(policy, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_sample": True, "top_k": 1}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--port", str(port)]
    server = subprocess.Popen(
        [*command, "--device", "cpu", "--dtype", "float32"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    for _ in range(600):
        assert server.poll() is None
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
            break
        except OSError:
            time.sleep(0.2)
    yield f"http://127.0.0.1:{port}/v1", str(folder)
    server.terminate()
    server.wait(timeout=30)


@pytest.mark.parametrize("name", ["openai", "async_openai"])
def test_the_checkpoints_own_settings_do_not_decide_the_samples(served, arguments, tmp_path, name):
    url, model = served
    options = {"model": f"{name},model_version={model},api_key=x,base_url={url}", "tasks": "rlfr_quickstart"}
    options |= {"gen_kwargs": "max_new_tokens=8,temperature=2.0", "samples": 6, "limit": 1}
    assert run.main(arguments(tmp_path, **options)) == 0
    rows = run_files.read_run(tmp_path)["rlfr_quickstart"]
    assert len({row.response for row in rows}) == 6
    assert (rows[0].generation["top_k"], rows[0].generation["repetition_penalty"]) == (-1, 1.0)


def test_without_them_the_server_gives_one_answer(served):
    """What the test above guards against is there."""
    url, model = served
    ask = openai.OpenAI(api_key="x", base_url=url).chat.completions.create
    asked = [{"role": "user", "content": "2 + 2?"}]
    answers = {
        ask(model=model, messages=asked, max_tokens=8, temperature=2.0, seed=i).choices[0].message.content
        for i in range(4)
    }
    assert len(answers) == 1
