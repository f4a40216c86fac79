"""Files appear whole or not at all, lines are read as they were written, locks are exclusive."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlfr_mm.files import (
    Journal,
    damage,
    locked,
    read_json,
    read_json_lines,
    read_lines,
    seal,
    shared_folder,
    try_lock,
    whole_folder,
    write_json_lines,
    write_whole,
)


def test_a_refused_write_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "summary.json"
    write_whole(path, "old")
    path.with_name("summary.json.partial").mkdir()  # nothing can be written under that name
    with pytest.raises(OSError):
        write_whole(path, "new")
    assert path.read_text() == "old"


def test_a_folder_appears_only_when_its_body_ends(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "final") as folder:
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    for content in ("first", "second"):
        with whole_folder(tmp_path / "final") as folder:
            (folder / "weights").write_text(content)
            assert not (tmp_path / "final" / "weights").exists() or content == "second"
    assert (tmp_path / "final" / "weights").read_text() == "second"


def test_the_first_of_two_makers_of_a_shared_folder_wins(tmp_path: Path):
    with shared_folder(tmp_path / "cache" / "policy") as late:
        (late / "weights").write_text("late")
        with shared_folder(tmp_path / "cache" / "policy") as early:
            (early / "weights").write_text("early")
            assert not (tmp_path / "cache" / "policy").exists()
        assert (tmp_path / "cache" / "policy" / "weights").read_text() == "early"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["policy"]
    assert (tmp_path / "cache" / "policy" / "weights").read_text() == "early"
    with pytest.raises(KeyboardInterrupt), shared_folder(tmp_path / "cache" / "other") as folder:
        (folder / "weights").write_text("half")
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["policy"]


def test_json_lines_round_trip_text_with_other_line_ends(tmp_path: Path):
    rows = [{"text": "one\u2028two\x85three\n"}, {"text": "\r"}]
    write_json_lines(tmp_path / "rows.jsonl", rows)
    assert read_json_lines(tmp_path / "rows.jsonl") == rows


def test_a_torn_last_line_is_left_out_or_named(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"step": 1}\n\n{"step"')
    assert [number for number, _ in read_lines(path)] == [1, 3]
    assert read_json_lines(path, finished_only=True) == [{"step": 1}]
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3"):
        read_json_lines(path)


def test_broken_json_names_its_file(tmp_path: Path):
    (tmp_path / "stages.json").write_text("")
    with pytest.raises(ValueError, match=r"stages\.json is not valid JSON"):
        read_json(tmp_path / "stages.json")


def test_a_failed_append_leaves_the_earlier_lines(tmp_path: Path):
    # The kernel writes up to the limit on the file's size and then refuses: half of the second append is on the disk.
    script = (
        "import resource, signal, sys; from rlfr_mm.files import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "journal = Journal(sys.argv[1]); journal.append(['one', 'two'])\n"
        "try: journal.append(['three', 'x' * 200])\n"
        "except OSError: sys.exit(7)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "rows.jsonl")])
    assert done.returncode == 7
    assert (tmp_path / "rows.jsonl").read_text() == "one\ntwo\n"


def test_a_journal_whose_folder_is_deleted_says_so(tmp_path: Path):
    journal = Journal(tmp_path / "run" / "rows.jsonl")
    journal.append(["one"])
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"deleted or moved while it was being written: .*rows\.jsonl"):
        journal.append(["two"])
    journal.close()


def test_a_sealed_folder_names_each_kind_of_damage(tmp_path: Path):
    folder = tmp_path / "checkpoint-1"
    (folder / "flow").mkdir(parents=True)
    assert damage(folder) == f"{folder} is unfinished: it has no manifest.json"
    for name in ("model", "flow/field"):
        (folder / name).write_bytes(b"weights")
    seal(folder)
    assert damage(folder) is None
    (folder / "notes.txt").write_text("added later")
    assert damage(folder) is None
    for content, said in (
        (b"", "flow/field is damaged: it has 0 bytes instead of 7"),
        (b"weighty", "flow/field is damaged: its content does not match"),
        (None, "flow/field is missing"),
    ):
        (folder / "flow" / "field").unlink() if content is None else (folder / "flow" / "field").write_bytes(content)
        assert said in str(damage(folder))
    for content in ("", "[]", '{"files": {"model": 3}}', '{"files": []}'):
        (folder / "manifest.json").write_text(content)
        assert damage(folder) == f"{folder / 'manifest.json'} is damaged: it is not a list of files"


def test_a_kill_while_a_folder_is_replaced_leaves_one_of_the_two_whole(tmp_path: Path):
    for name in ("final", "final.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text(name)
    script = (
        "import os, sys, pathlib; from rlfr_mm import files\n"
        "files.shutil.rmtree = lambda path, **_: os._exit(9) if pathlib.Path(path).exists() else None\n"
        "files.replace_folder(pathlib.Path(sys.argv[1] + '.partial'), pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "final")])
    assert done.returncode == 9 and (tmp_path / "final" / "weights").read_text() == "final.partial"


def test_a_lock_names_its_owner_and_ends_with_the_process(tmp_path: Path):
    script = (
        "import sys, time; from rlfr_mm.files import locked\n"
        "with locked(sys.argv[1], 'the run'): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / ".lock")], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    with (
        pytest.raises(ValueError, match=f"the run is in use by process {holder.pid}"),
        locked(tmp_path / ".lock", "the run"),
    ):
        pass
    holder.kill()
    holder.wait()
    with locked(tmp_path / ".lock", "the run"):
        pass


def test_a_child_process_that_inherits_a_lock_holds_it_until_it_ends(tmp_path: Path):
    lock = try_lock(tmp_path / "cell.lock")
    assert lock is not None and try_lock(tmp_path / "cell.lock") is None
    child = subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()])
    lock.close()
    assert try_lock(tmp_path / "cell.lock") is None
    child.kill()
    child.wait()
    again = try_lock(tmp_path / "cell.lock")
    assert again is not None
    again.close()
