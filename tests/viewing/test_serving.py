"""The page of a run that is served follows the run."""

import shutil
import threading
import urllib.error
import urllib.request

import pytest

from rlfr_mm.viewing.serving import make_server


@pytest.fixture
def served(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    server = make_server([copy], 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield copy, f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_page_is_made_again_when_the_run_grows_and_the_browser_asks_again(served):
    folder, address = served
    with urllib.request.urlopen(address) as reply:
        first = reply.read()
        assert int(reply.headers["Refresh"]) > 0
    with urllib.request.urlopen(address) as reply:
        assert reply.read() == first
    rows = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").write_text(rows + rows.splitlines()[-1].replace('"step": 4', '"step": 5') + "\n")
    (folder / "summary.json").write_text("{}")
    with urllib.request.urlopen(address) as reply:
        assert reply.read() != first


def test_a_finished_run_is_not_asked_for_again(served):
    folder, address = served
    (folder / "summary.json").write_text('{"seed": 0}')
    with urllib.request.urlopen(address) as reply:
        assert "Refresh" not in reply.headers


def test_what_cannot_be_shown_is_named(served):
    folder, address = served
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(address + "etc/passwd")
    shutil.rmtree(folder)
    with pytest.raises(urllib.error.HTTPError, match=r"503.*is not a run"):
        urllib.request.urlopen(address)


def test_a_port_that_is_taken_is_one_line(served):
    _, address = served
    with pytest.raises(ValueError, match="cannot serve on port"):
        make_server([], int(address.rstrip("/").rpartition(":")[2]))
