import pytest

from rlfr_mm.step_files import StepFiles
from rlfr_mm.training.run_folder import RunFolder, answer_files, bad_step_files


@pytest.mark.parametrize(
    ("files_of", "name"),
    [(answer_files, "step-{:06d}.jsonl"), (bad_step_files, "{:06d}-0.json"), (bad_step_files, "{:06d}-1.safetensors")],
)
@pytest.mark.parametrize("harm", ["flipped", "removed"])
def test_a_resumed_run_names_the_files_of_its_steps_that_are_not_as_written(
    files_of, name: str, harm: str, tmp_path, capsys
):
    files: StepFiles = files_of(tmp_path)
    for step in (1, 2, 3):
        files.write({name.format(step): b'{"reason": "the loss"}'})
    path = files.folder / name.format(2)
    path.write_bytes(b'{"reason": "the toss"}') if harm == "flipped" else path.unlink()
    RunFolder(tmp_path).cut_after(2, logging_steps=0)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {path} is ")
    assert files.existing() == [name.format(1)] and files.steps == {1, 2}
    files.write({name.format(2): b"{}"})
    assert [reason for _, _, reason in files.by_step()] == [None, None]


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    files = StepFiles(tmp_path, r"step-(\d+)\.jsonl")
    files.write({"step-5.jsonl": b"[]"})
    mine = [tmp_path / name for name in ("step-9.jsonl.damaged", "step-٩.jsonl", "notes.txt")]
    for path in mine:
        path.write_bytes(b"mine")
    files.continue_after(4)
    assert files.existing() == [] and all(path.read_bytes() == b"mine" for path in mine)


@pytest.mark.parametrize("left", [0, 1])
def test_files_whose_checksums_are_lost_are_named_once(left: int, tmp_path, capsys):
    files = StepFiles(tmp_path, r"step-(\d+)\.jsonl")
    for step in (1, 2):
        files.write({f"step-{step}.jsonl": b"[]"})
    journal = tmp_path / "checksums.jsonl"
    journal.write_text("".join(journal.read_text().splitlines(keepends=True)[:left]))
    files.continue_after(2)
    (warning,) = capsys.readouterr().err.splitlines()
    lost = ", ".join(["step-1.jsonl", "step-2.jsonl"][left:])
    assert warning == f"warning: {journal} is damaged or missing: damage to {lost} cannot be told"
    files.continue_after(2)
    assert capsys.readouterr().err == ""
