"""A run can be stopped anywhere and resumed; what it cannot use, it names in one line and exits 2."""

import contextlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features, Image, Value
from PIL import ImageFile
from PIL.Image import frombytes
from PIL.Image import new as new_image

from rlfr_mm.eval import report, run
from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.harness import build_backend
from rlfr_mm.eval.engine.plan import RunSettings, generation_settings, plan_task
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.spec import Generation
from tests.eval.commands import exit_status

SAMPLED, GREEDY = "rlfr_quickstart_pass32", "rlfr_quickstart"
ROOT = Path(__file__).resolve().parents[3]
WHITE = new_image("RGB", (84, 84), "white")


def command(arguments: list[str]) -> list[str]:
    return [sys.executable, "-m", "rlfr_mm.eval.run", *arguments]


def test_every_planned_sample_has_one_row(finished):
    _, rows = finished
    assert [(row.doc_id, row.sample_index) for row in rows[SAMPLED]] == [(d, s) for d in range(2) for s in range(32)]
    assert [(row.doc_id, row.sample_index) for row in rows[GREEDY]] == [(d, 0) for d in range(2)]


def test_rows_say_what_was_asked_and_how(finished, policy):
    folder, rows = finished
    row = rows[SAMPLED][0]
    assert row.prompt.startswith("<|im_start|>system") and row.doc["question"] in row.prompt
    assert row.prompt_hash == records.digest(row.prompt) and len(row.image_hashes) == 1
    assert row.generation["temperature"] == 0.6 and row.generation["repetition_penalty"] == 1.0
    assert row.generation["max_new_tokens"] == 4 and rows[GREEDY][0].generation["temperature"] == 0.0
    assert row.finish_reason in ("stop", "length") and 1 <= row.completion_tokens <= 4 and row.prompt_tokens > 9
    manifest = run_files.read_manifest(folder)
    assert manifest.model.weights_sha256 and manifest.model.backend == "rlfr"
    assert {"torch", "lmms-eval", "rlfr_mm"} <= manifest.sessions[0].libraries.keys()
    assert manifest.tasks[SAMPLED].samples == 32 and manifest.tasks[SAMPLED].rows == 200


def test_samples_of_a_problem_differ_and_seeds_are_derived(finished):
    _, rows = finished
    first = [row for row in rows[SAMPLED] if row.doc_id == 0]
    assert len({row.response for row in first}) > 16
    by_batch = {row.batch: row.seed for row in rows[SAMPLED]}
    assert len(set(by_batch.values())) == len(by_batch) == 7
    assert all(row.seed == by_batch[row.batch] for row in rows[SAMPLED])


def test_results_mark_a_slice_and_hold_every_pass_at_k(finished):
    folder, _ = finished
    sampled, greedy = run_files.read_results(folder)
    assert sampled.partial and sampled.problems == 2 and sampled.problems_expected == 200 and sampled.missing == 0
    assert {f"pass@{k}" for k in range(1, 33)} <= sampled.metrics.keys() and sampled.headline == "pass@32"
    assert greedy.headline == "accuracy" and greedy.interval.low <= greedy.score <= greedy.interval.high


def test_a_finished_run_generates_nothing_more(finished, arguments, tmp_path):
    folder, rows = finished
    copy = shutil.copytree(folder, tmp_path / "copy")
    before = {task: (copy / task / run_files.SAMPLES).read_bytes() for task in rows}
    assert run.main(arguments(copy)) == 0
    assert before == {task: (copy / task / run_files.SAMPLES).read_bytes() for task in rows}
    assert len(run_files.read_manifest(copy).sessions) == 2


def test_a_journal_cut_at_any_byte_resumes_to_the_same_rows(finished, arguments, tmp_path):
    """What a kill leaves: whole batches, a part of one, half a line."""
    folder, rows = finished
    generator = random.Random(0)
    for number in range(2):
        copy = shutil.copytree(folder, tmp_path / str(number))
        for task in rows:
            path = copy / task / run_files.SAMPLES
            os.truncate(path, generator.randrange(path.stat().st_size))
        assert run.main(arguments(copy)) == 0
        assert run_files.read_run(copy) == rows


def test_a_killed_process_resumes_to_the_same_rows(finished, arguments, tmp_path):
    _, rows = finished
    killed = tmp_path / "killed"
    journal = killed / SAMPLED / run_files.SAMPLES
    for seen in (1, 30_000):  # killed after the first rows, then later
        process = subprocess.Popen(command(arguments(killed)), cwd=ROOT, stderr=subprocess.DEVNULL)
        while process.poll() is None and not (journal.exists() and journal.stat().st_size >= seen):
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    assert 0 < len(run_files.read_rows(journal)[0]) < len(rows[SAMPLED])
    assert run.main(arguments(killed)) == 0
    assert run_files.read_run(killed) == rows


def test_a_larger_limit_and_further_tasks_keep_what_is_there(finished, arguments, tmp_path):
    small = arguments(tmp_path, model="dummy", tasks=GREEDY, limit=2, batch_size=2)
    large = arguments(tmp_path, model="dummy", tasks=f"{GREEDY},{SAMPLED}", limit=3, batch_size=2)
    assert run.main(small) == 0
    before = run_files.read_run(tmp_path)[GREEDY]
    assert run.main(large) == 0
    rows = run_files.read_run(tmp_path)
    assert rows[GREEDY][:2] == before and len(rows[GREEDY]) == 3 and len(rows[SAMPLED]) == 96


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"gen_kwargs": "max_new_tokens=7"}, "generation"),
        ({"seed": 1}, "--seed was 0, now 1"),
        ({"batch_size": 5}, "--batch_size was 10, now 5"),
        ({"limit": 1}, "problems (which may only grow) was 2, now 1"),
        ({"model": "dummy"}, "the model's backend was rlfr, now dummy"),
        ({"tasks": "rlfr_quickstrat"}, "did you mean rlfr_quickstart"),
        ({"model": "qwen2_5_lv"}, "near: qwen2_5_vl"),
        ({"model": "rlfr=runs/nowhere/final"}, "must be an existing folder, or a hub id"),
        ({"model": "rlfr"}, "names no policy; give a folder such as RUN/final, or a hub id"),
        ({"model": "dummy=folder"}, "only rlfr takes a folder"),
        ({"model": "dummy,response"}, "NAME,key=value"),
        ({"gen_kwargs": "max_tokens=7"}, "has no setting max_tokens"),
        ({"gen_kwargs": "max_new_tokens"}, "write key=value"),
        ({"gen_kwargs": "temperature=hot"}, "must be a number"),
        ({"tasks": ","}, "names no task"),
        ({"tasks": "rlfr_gsm8k", "data_root": "nowhere"}, "its data cannot be read"),
        ({"samples": 2, "gen_kwargs": "temperature=0.0"}, "one sample"),
        ({"config": "nowhere.yaml"}, "no configuration file nowhere.yaml"),
    ],
)
def test_unusable_input_is_one_line_and_loses_nothing(finished, arguments, capfd, changes, named):
    folder, rows = finished
    assert exit_status(run.main, arguments(folder, **changes)) == 2
    message = capfd.readouterr().err.strip().splitlines()[-1]
    assert message.startswith("error: ") and named in message
    assert run_files.read_run(folder) == rows


def test_a_policy_whose_folder_was_renamed_goes_on(policy, arguments, tmp_path, capfd):
    """The weights say which policy it is; another one is refused by the name of what differs."""
    folder = shutil.copytree(policy, tmp_path / "lr_1e-6" / "final")
    options = {"tasks": GREEDY, "limit": 1, "batch_size": 1}
    assert run.main(arguments(tmp_path / "run", model=f"rlfr={folder},device=cpu", **options)) == 0
    (tmp_path / "lr_1e-6").rename(tmp_path / "best")
    model = f"rlfr={tmp_path / 'best' / 'final'},device=cpu"
    assert run.main(arguments(tmp_path / "run", model=model, **options)) == 0
    capfd.readouterr()
    assert exit_status(run.main, arguments(tmp_path / "run", model=f"{model},dtype=bfloat16", **options)) == 2
    message = capfd.readouterr().err.strip().splitlines()[-1]
    assert "other settings: the model's argument dtype was float32, now bfloat16; use another" in message


def test_an_unreadable_row_is_moved_aside_and_answered_again(finished, arguments, tmp_path, capfd):
    folder, rows = finished
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / GREEDY / run_files.SAMPLES
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b'{"what": "is this"}', *lines[2:]]))
    assert run.main(arguments(copy)) == 0
    assert f"{path}, line 2 cannot be used" in capfd.readouterr().err
    assert "is this" in (copy / GREEDY / run_files.BAD_SAMPLES).read_text()
    key = {row.key: row for row in run_files.read_run(copy)[GREEDY]}
    assert key == {row.key: row for row in rows[GREEDY]}


def test_a_full_disk_is_named_and_the_run_goes_on_later(arguments, tmp_path):
    options = {"model": "dummy,response=3", "limit": 4}

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    stopped = subprocess.run(
        command(arguments(tmp_path, **options)), cwd=ROOT, preexec_fn=little_room, capture_output=True, text=True
    )
    assert stopped.returncode == 2
    assert stopped.stderr.splitlines()[-1].startswith(f"error: cannot write {tmp_path / SAMPLED / run_files.SAMPLES}")
    kept, bad = run_files.read_rows(tmp_path / SAMPLED / run_files.SAMPLES)
    assert 0 < len(kept) < 128 and bad == []
    assert run.main(arguments(tmp_path, **options)) == 0
    rows = run_files.read_run(tmp_path)
    assert rows[SAMPLED][: len(kept)] == kept and (len(rows[SAMPLED]), len(rows[GREEDY])) == (128, 4)


def test_a_second_process_is_refused(arguments, tmp_path, capfd):
    with run_files.locked(tmp_path):
        assert exit_status(run.main, arguments(tmp_path, model="dummy")) == 2
    assert f"in use by process {os.getpid()}" in capfd.readouterr().err


def test_a_slice_of_the_data_needs_permission_and_is_marked(shared, arguments, tmp_path, capfd):
    options = {"model": "dummy,response=A", "tasks": "rlfr_mathvision_test", "data_root": shared / "hub", "limit": 2}
    assert exit_status(run.main, arguments(tmp_path, **options)) == 2
    assert "300 records where the registry expects 3040" in capfd.readouterr().err
    assert run.main([*arguments(tmp_path, **options), "--allow-changed-data"]) == 0
    [result] = run_files.read_results(tmp_path)
    assert result.partial and result.changed_data


def test_other_records_than_the_registrys_need_permission(shared, arguments, tmp_path, capfd):
    """The same number of rows with one answer changed."""
    from datasets import load_dataset

    mirror = tmp_path / "mirror" / "HuggingFaceH4" / "MATH-500"
    docs = load_dataset(str(shared / "hub/HuggingFaceH4/MATH-500"), split="test").to_list()
    mirror.mkdir(parents=True)
    options = {"model": "dummy,response=7", "tasks": "rlfr_math500", "data_root": tmp_path / "mirror", "limit": 1}
    (mirror / "test.jsonl").write_text("\n".join(map(json.dumps, docs)))
    assert run.main(arguments(tmp_path / "same", **options)) == 0
    docs[17]["answer"] = "7"
    (mirror / "test.jsonl").write_text("\n".join(map(json.dumps, docs)))
    assert exit_status(run.main, arguments(tmp_path / "other", **options)) == 2
    assert "the records have the hash" in capfd.readouterr().err


def test_missing_images_are_named_by_record_and_fail_the_run(shared, arguments, tmp_path, capfd):
    """One task without its images costs only that task: the other has all its results."""
    options = {"model": "dummy,response=3", "tasks": f"rlfr_mathvista_testmini,{GREEDY}", "data_root": shared / "hub"}
    assert run.main(arguments(tmp_path, **options)) == 1
    messages = capfd.readouterr().err
    assert "rlfr_mathvista_testmini: 2 of 2 responses are missing" in messages
    assert "record 1 has no image" in messages
    assert {result.task: result.rows for result in run_files.read_results(tmp_path)}[GREEDY] == 2


def own_benchmark(folder: Path, name: str, images: Sequence[Any]) -> Path:
    """Write a benchmark rlfr_NAME with a record per image into a folder, which is returned, and its data beside it."""
    rows = [{"id": str(i), "question": "How many?", "answer": str(i), "image": image} for i, image in enumerate(images)]
    features = Features(
        {"id": Value("string"), "question": Value("string"), "answer": Value("string"), "image": Image()}
    )
    for path in (folder / name, folder / "mirror" / name):
        path.mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=features).to_parquet(str(folder / "mirror" / name / "test-00000-of-00001.parquet"))
    (folder / name / "__init__.py").write_text(
        "from rlfr_mm.tasks.spec import TaskSpec\n"
        f"TASKS = (TaskSpec(name='rlfr_{name}', benchmark='{name}', dataset='{name}', rows={len(rows)},\n"
        "                  image='image', problem_id=lambda doc: doc['id']),)\n"
    )
    return folder


@pytest.fixture(scope="module")
def gaps(tmp_path_factory) -> Iterator[Path]:
    """A folder with a benchmark of 12 records, of which those with the numbers 1, 3 and 5 have no image."""
    yield own_benchmark(tmp_path_factory.mktemp("own"), "gaps", [None if i in (1, 3, 5) else WHITE for i in range(12)])
    registry.TASKS.pop("rlfr_gaps", None)


@pytest.mark.parametrize("model", [None, "dummy,response=3"])
def test_a_stopped_run_goes_on_behind_records_that_can_never_be_answered(gaps, arguments, tmp_path, model):
    """Three batches lack a record without its image; the batches behind them are answered all the same."""
    options = {"tasks": "rlfr_gaps", "include_path": gaps, "data_root": gaps / "mirror"}
    options |= {"limit": None, "batch_size": 2} | ({"model": model} if model else {})
    assert run.main(arguments(tmp_path, **options)) == 1
    rows = run_files.read_run(tmp_path)["rlfr_gaps"]
    assert [row.doc_id for row in rows] == [0, 2, 4, *range(6, 12)]
    run_files.write_rows(tmp_path / "rlfr_gaps" / run_files.SAMPLES, rows[:3])
    assert run.main(arguments(tmp_path, **options)) == 1
    assert run_files.read_run(tmp_path)["rlfr_gaps"] == rows


@pytest.mark.parametrize("allowed_elsewhere", [False, True])
def test_a_damaged_picture_costs_its_record_alone(allowed_elsewhere, arguments, tmp_path, capfd, monkeypatch):
    """Pillow raises a SyntaxError on this one, as its PNG reader does. A report does without the picture."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", allowed_elsewhere)  # lmms-eval sets it when imported
    noise = io.BytesIO()
    frombytes("RGB", (300, 300), random.Random(0).randbytes(270_000)).save(noise, "PNG")
    first, second, *rest = noise.getvalue().split(b"IDAT")
    damaged = b"IDAT".join([first, second]) + b"I\0AT" + b"IDAT".join(rest)
    broken, grey = {"bytes": damaged, "path": None}, new_image("RGB", (84, 84), "grey")
    own = own_benchmark(tmp_path / "own", "damaged", [WHITE, broken, grey])
    options = {"model": "dummy,response=3", "tasks": "rlfr_damaged", "data_root": own / "mirror", "include_path": own}
    try:
        assert run.main(arguments(tmp_path / "run", **options, limit=3)) == 1
        told = "rlfr_damaged: record 1 cannot be read: broken PNG file"
        assert told in capfd.readouterr().err
        assert [row.doc_id for row in run_files.read_run(tmp_path / "run")["rlfr_damaged"]] == [0, 2]
        own_benchmark(own, "damaged", [broken, WHITE, grey])
        assert report.main([str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0
        page = (tmp_path / "page.html").read_text()
        assert "images are not shown for 1 of 2 problems: rlfr_damaged: record 0 cannot be read" in page
    finally:
        registry.TASKS.pop("rlfr_damaged", None)


def test_records_without_images_do_not_end_a_task_and_only_some_are_listed(shared, arguments, tmp_path, capfd):
    options = {"model": "dummy,response=3", "tasks": "rlfr_mathvista_testmini", "data_root": shared / "hub"}
    assert run.main(arguments(tmp_path, **options, limit=50, batch_size=2)) == 1
    messages = capfd.readouterr().err
    assert messages.count("has no image") == 20 and "rlfr_mathvista_testmini: 30 more reasons like these" in messages
    assert "record 50 has no image" in messages


def test_a_plan_depends_on_seed_and_settings_alone():
    backend = build_backend("dummy", batch_size=4)
    spec = registry.task(GREEDY)
    keys = {}
    for name, settings in {
        "base": RunSettings(limit=5),
        "again": RunSettings(limit=5),
        "seed": RunSettings(limit=5, seed=1),
        "longer": RunSettings(limit=5, generation={"max_new_tokens": 9}),
    }.items():
        task = plan_task(spec, backend, settings)
        keys[name] = {sample.key: sample.seed for sample in task.samples}
        assert [len(batch) for _, _, batch in task.batches(4)] == [4, 1]
    assert keys["base"] == keys["again"] and len(set(keys["base"].values())) == 5
    assert keys["base"].keys() == keys["seed"].keys() and keys["base"] != keys["seed"]
    assert not keys["base"].keys() & keys["longer"].keys()


def test_a_greedy_task_asked_for_samples_takes_sampling_settings():
    spec = replace(registry.task(GREEDY), generation=Generation(max_new_tokens=77))
    assert generation_settings(spec, 1, {})["do_sample"] is False
    several = generation_settings(spec, 4, {})
    sampled = registry.task(SAMPLED).generation
    assert (several["do_sample"], several["temperature"], several["top_p"]) == (
        True,
        sampled.temperature,
        sampled.top_p,
    )
    assert several["max_new_tokens"] == 77
    assert generation_settings(spec, 1, {"temperature": 1.0})["do_sample"] is True


EDITS = {
    "task": ({"task": "rlfr_gsm8k"}, "its task is rlfr_gsm8k, but that of record 1 is rlfr_quickstart"),
    "doc_hash": ({"doc_hash": "0" * 16}, "its doc_hash is 0000000000000000, but that of record 1 is "),
    "doc_id": ({"doc_id": 77}, "sample 0 of record 77 is not planned"),
    "generation": ({"generation_hash": "0" * 16}, "its generation_hash is 0000000000000000, but that of record 1 is "),
}


@pytest.mark.parametrize("edited", EDITS)
def test_a_row_that_was_edited_is_refused_by_name_and_answered_again(finished, arguments, tmp_path, capfd, edited):
    folder, rows = finished
    changes, message = EDITS[edited]
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / GREEDY / run_files.SAMPLES
    run_files.write_rows(path, [rows[GREEDY][0], rows[GREEDY][1].model_copy(update=changes)])
    assert run.main(arguments(copy)) == 0
    assert f"{path}, line 2 cannot be used ({message}" in capfd.readouterr().err
    assert run_files.read_run(copy) == rows


@pytest.mark.parametrize(("moved", "file"), [(False, run_files.SAMPLES), (True, "samples.0-of-2.jsonl")])
def test_a_run_folder_that_disappears_is_an_error(arguments, tmp_path, moved, file):
    folder = tmp_path / "run"
    options = [*arguments(folder), *(["--shard", "0/2"] if "of" in file else [])]
    process = subprocess.Popen(command(options), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    journal = folder / SAMPLED / file
    while process.poll() is None and not (journal.exists() and journal.stat().st_size):
        time.sleep(0.01)
    folder.rename(tmp_path / "elsewhere") if moved else shutil.rmtree(folder)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == 2
    last = messages.splitlines()[-1]
    assert last.startswith(f"error: cannot write {journal}: deleted or moved while it was being written")
