"""Several processes answer one run: the rows are those of one process, whoever is killed and however many resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfr_mm.eval import run, score
from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.shards import WHOLE, Shard, launched_shard, parse_shard
from tests.conftest import ROOT
from tests.eval.commands import exit_status

SAMPLED, GREEDY = "rlfr_quickstart_pass32", "rlfr_quickstart"


def launched(processes: int, arguments: list[str]) -> subprocess.Popen:
    """`accelerate launch -m rlfr_mm.eval.run`; `--multi_gpu` is its name for torchrun, and the model is on the CPU."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", f"--num_processes={processes}"]
    command += ["--num_machines=1", "--dynamo_backend=no", "--mixed_precision=no", "--main_process_port=0"]
    return subprocess.Popen(
        [*command, "-m", "rlfr_mm.eval.run", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.jsonl"))


@given(st.integers(1, 7), st.lists(st.integers(0, 9), max_size=9), st.booleans())
def test_each_sample_has_exactly_one_process(count: int, sizes: list[int], whole: bool):
    batches = [[(number, i) for i in range(size)] for number, size in enumerate(sizes)]
    dealt = [
        sample
        for index in range(count)
        for number, batch in enumerate(batches)
        for sample in Shard(index, count).share(number, batch, whole)
    ]
    assert sorted(dealt) == [sample for batch in batches for sample in batch]


@pytest.mark.parametrize("text", ["", "1", "2/2", "0/0", "-1/2", "1/2/3", "a/b"])
def test_a_shard_is_one_of_n_from_zero(text: str):
    with pytest.raises(ValueError, match="I from 0 to N - 1"):
        parse_shard(text)
    assert parse_shard("1/2") == Shard(1, 2)


def test_a_launcher_names_the_shard():
    assert launched_shard({"RANK": "2", "WORLD_SIZE": "4"}) == Shard(2, 4)
    assert launched_shard({}) == WHOLE


def test_shards_one_after_the_other_end_with_the_rows_and_results_of_one_process(finished, arguments, tmp_path, capfd):
    folder, rows = finished
    assert run.main([*arguments(tmp_path), "--shard", "1/2"]) == 0
    first = run_files.read_run(tmp_path)
    assert 0 < sum(map(len, first.values())) < sum(map(len, rows.values()))
    assert "are missing" in capfd.readouterr().err
    assert run.main([*arguments(tmp_path), "--shard", "0/2"]) == 0
    assert run_files.read_run(tmp_path) == rows
    assert run_files.read_results(tmp_path) == run_files.read_results(folder)
    assert files_of(tmp_path) == ["samples.jsonl", "samples.jsonl"]
    assert [session.shard for session in run_files.read_manifest(tmp_path).sessions] == ["1/2", "0/2"]


def test_a_server_shares_the_samples_of_a_batch(arguments, tmp_path):
    """Samples that do not depend on their batch are dealt singly, since a run may be one batch of 512."""
    options = arguments(tmp_path, model="dummy,response=3", tasks=GREEDY, limit=7, batch_size=512)
    counts = []
    for index in range(3):
        assert run.main([*options, "--shard", f"{index}/3"]) == 0
        counts.append(len(run_files.read_run(tmp_path)[GREEDY]))
    assert counts == [3, 5, 7]


def test_a_launcher_runs_two_processes_to_the_rows_of_one(finished, arguments, tmp_path):
    _, rows = finished
    process = launched(2, arguments(tmp_path))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert run_files.read_run(tmp_path) == rows
    assert out.count("rlfr_quickstart_pass32  pass@32") == 1, out  # the last process prints the results
    assert {session.shard for session in run_files.read_manifest(tmp_path).sessions} == {"0/2", "1/2"}


def test_a_killed_process_ends_the_launch_and_another_number_of_processes_resumes(finished, arguments, tmp_path):
    _, rows = finished
    process = launched(3, arguments(tmp_path))
    written = tmp_path / SAMPLED / "samples.1-of-3.jsonl"
    while not (written.exists() and written.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(int((tmp_path / f"{run_files.LOCK}-1-of-3").read_text()), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0
    left = run_files.read_run(tmp_path)
    assert sum(map(len, left.values())) > 0
    for index in (1, 0):
        assert run.main([*arguments(tmp_path), "--shard", f"{index}/2"]) == 0
    assert run_files.read_run(tmp_path) == rows


def test_rows_of_shards_that_never_finished_are_scored_and_merged(finished, arguments, tmp_path, capfd):
    """A shard that is killed leaves its own file; eval.score and a single process both take the rows in it."""
    _, rows = finished
    with run_files.locked(tmp_path, Shard(1, 2)):  # the other shard is still at work
        assert run.main([*arguments(tmp_path), "--shard", "0/2"]) == 0
    assert "the last one to finish scores the run" in capfd.readouterr().out
    assert not (tmp_path / run_files.RESULTS).exists() and "samples.0-of-2.jsonl" in files_of(tmp_path)
    assert score.main([str(tmp_path)]) == 1  # responses are missing
    assert files_of(tmp_path) == ["samples.jsonl", "samples.jsonl"]
    assert run.main(arguments(tmp_path)) == 0
    assert run_files.read_run(tmp_path) == rows


def test_two_shards_of_a_run_may_run_and_no_other_pair_of_processes(arguments, tmp_path, capfd):
    options = arguments(tmp_path, model="dummy")
    with run_files.locked(tmp_path, Shard(0, 2)), run_files.locked(tmp_path, Shard(1, 2)):
        for refused, message in (
            (["--shard", "0/2"], "shard 0/2 of"),
            (["--shard", "0/3"], "split in another number of shards"),
            ([], f"{tmp_path} is in use by process {os.getpid()}"),
        ):
            assert exit_status(run.main, [*options, *refused]) == 2
            assert message in capfd.readouterr().err
        assert exit_status(score.main, [str(tmp_path)]) == 2
    with run_files.locked(tmp_path):
        assert exit_status(run.main, [*options, "--shard", "0/2"]) == 2
    assert f"in use by process {os.getpid()}" in capfd.readouterr().err


def test_a_shard_with_other_settings_is_one_line(arguments, tmp_path, capfd):
    options = {"model": "dummy", "tasks": GREEDY}
    assert run.main([*arguments(tmp_path, **options), "--shard", "0/2"]) == 0
    capfd.readouterr()
    assert exit_status(run.main, [*arguments(tmp_path, seed=1, **options), "--shard", "1/2"]) == 2
    (message,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error")]
    assert "--seed was 0, now 1" in message


def test_a_shard_beside_a_launcher_is_refused(arguments, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert exit_status(run.main, [*arguments(tmp_path), "--shard", "0/2"]) == 2
    assert "leave out one of the two" in capfd.readouterr().err


def test_a_conflicting_copy_in_another_shard_is_named_and_the_first_row_counts(finished, arguments, tmp_path, capfd):
    _, rows = finished
    assert run.main([*arguments(tmp_path), "--shard", "0/2"]) == 0
    row = rows[GREEDY][0]
    copies = [row, row.model_copy(update={"response": "other"})]
    copy = tmp_path / GREEDY / "samples.1-of-2.jsonl"
    copy.write_text("".join(one.model_dump_json() + "\n" for one in copies))
    assert run.main(arguments(tmp_path)) == 0
    message = (
        f"{copy}, line 2 cannot be used (another row for problem {row.problem_id}, sample 0; the first one counts)"
    )
    assert message in capfd.readouterr().err
    assert run_files.read_run(tmp_path) == rows
    assert json.loads((tmp_path / GREEDY / run_files.BAD_SAMPLES).read_text())["line"] == 2
