"""What a run keeps of its rollouts on disk: one record per rollout, with figures for every token. Loads no torch."""

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from rlfr_mm.files import BadFile, Journal, checked, read_lines, sha256, warn, with_checksum, write_whole

RECORDS = "[0-9]*.jsonl"  # the files of records in RUN/rollouts
IMAGES = "images"
CHECKSUMS = "checksums.jsonl"  # the checksum of each file in RUN/rollouts
_NAME = re.compile(r"\d+\.jsonl|images/[^/]+\.png")  # of such a file: nothing outside of the folder is touched


class RolloutRecord(BaseModel):
    """One completion with its rewards. Lists have one entry per response token; `tokens` holds their text."""

    model_config = ConfigDict(extra="forbid")

    step: int
    problem_id: str
    sample: int  # index within the group of completions of one prompt
    prompt: str
    images: list[str] = []  # files under rollouts/images
    solution: str
    completion: str
    rewards: dict[str, float | None]  # by reward function; None if it could not be graded
    correct: bool | None = None  # None if it could not be graded
    advantage: float  # GRPO's, before shaping
    tokens: list[str]
    advantages: list[float]
    logprob: list[float]
    entropy: list[float]
    deviation: list[float] | None = None  # only if the flow is on
    flow_reward: list[float] | None = None

    @model_validator(mode="after")
    def _one_entry_per_token(self) -> "RolloutRecord":
        for name in ("advantages", "logprob", "entropy", "deviation", "flow_reward"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.tokens):
                raise ValueError(f"{name} has {len(values)} entries for {len(self.tokens)} tokens")
        return self

    @property
    def shaping(self) -> list[float]:
        """What was added to GRPO's advantage at each token; 0 where the difference is rounding error of the two."""
        rounding = 1e-4 * abs(self.advantage) + 1e-6
        added = [value - self.advantage for value in self.advantages]
        return [value if abs(value) > rounding else 0.0 for value in added]


class RolloutWriter:
    """Writes `RUN/rollouts/<step>.jsonl`, the image of each problem once, and the checksums of both."""

    def __init__(self, run_dir: str | Path):
        self.folder = Path(run_dir) / "rollouts"

    def write(self, records: Sequence[RolloutRecord], images: dict[str, Any]) -> None:
        """Write the records of one step, all or none of them; `images` are PIL images by file name."""
        lines = "".join(record.model_dump_json(exclude_none=True) + "\n" for record in records)
        written = {f"{IMAGES}/{name}": _png(image) for name, image in images.items() if not self._has_image(name)}
        written[f"{records[0].step:06d}.jsonl"] = lines.encode()
        for name, data in written.items():
            write_whole(self.folder / name, data)
        journal = Journal(self.folder / CHECKSUMS)
        try:  # last, so that a kill leaves files without a checksum, and never a checksum without its file
            journal.append(_entry(name, hashlib.sha256(data).hexdigest()) for name, data in written.items())
        finally:
            journal.close()

    def _has_image(self, name: str) -> bool:
        return (self.folder / IMAGES / name).exists()

    def continue_after(self, step: int) -> None:
        """Remove the records of later steps, which a resumed run makes again, and set damaged files aside.

        A warning names each file that is damaged or missing. A damaged one is renamed to NAME.damaged. The records of
        its step are missing from then on; an image is written again when its problem is next sampled.
        """
        for path in self.folder.glob(RECORDS):
            if int(path.stem) > step:
                path.unlink()
        known, unreadable = _read_checksums(self.folder)
        for message in unreadable:
            warn(message)
        kept = {name: checksum for name, checksum in known.items() if _step_of(name) <= step}
        for name, checksum in list(kept.items()):
            path = self.folder / name
            if checksum is None or (reason := _damage(path, checksum)) is None:
                continue
            with contextlib.suppress(FileNotFoundError):
                path.replace(path.with_name(path.name + ".damaged"))
                reason += f"; moved to {path.name}.damaged"
            warn(reason)
            if _step_of(name):
                kept[name] = None
            else:
                del kept[name]
        for path in sorted([*self.folder.glob(RECORDS), *(self.folder / IMAGES).glob("*.png")]):
            name = str(path.relative_to(self.folder))
            if name not in kept:  # written by an earlier version or just before a kill, or its line is damaged
                kept[name] = sha256(path)
        journal, text = self.folder / CHECKSUMS, "".join(_entry(*item) + "\n" for item in kept.items())
        if text.encode() != (journal.read_bytes() if journal.exists() else b""):
            write_whole(journal, text)


def _png(image: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    return encoded.getvalue()


def _step_of(name: str) -> int:
    """The step of a file of records; 0 for an image, which belongs to no step."""
    return int(stem) if (stem := name.partition(".")[0]).isdecimal() else 0


def _entry(name: str, checksum: str | None) -> str:
    """The line of a file in CHECKSUMS, with a checksum of its own."""
    return json.dumps(with_checksum({"file": name, "content": checksum}))


def _read_checksums(folder: Path) -> tuple[dict[str, str | None], list[str]]:
    """The checksums of the files in RUN/rollouts by name, None for one that is known to be lost; and what is damaged.

    The second value has a message per line that cannot be read, or one if there are records but no checksums.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        return {}, [f"{path} is missing: damage to rollouts cannot be told"] if list(folder.glob(RECORDS)) else []
    known: dict[str, str | None] = {}
    unreadable = []
    for number, line in read_lines(path, finished_only=True):
        try:
            entry = checked(json.loads(line), path)
            if not _NAME.fullmatch(entry["file"]):
                raise BadFile(f"{entry['file']} is not a file of rollouts")
            known[entry["file"]] = entry["content"]
        except (ValueError, KeyError, TypeError, RecursionError):
            unreadable.append(f"{path}, line {number}, is damaged: damage to the file that it names cannot be told")
    return known, unreadable


def _damage(path: Path, checksum: str | None) -> str | None:
    """What is wrong with a file of RUN/rollouts, in one line; None if it is as it was written."""
    if not path.is_file():
        return f"{path} is missing"
    if checksum is not None and sha256(path) != checksum:
        return f"{path} is damaged: its content does not match its checksum in {CHECKSUMS}"
    return None


def read_rollouts(run_dir: str | Path, broken: list[str] | None = None) -> Iterator[RolloutRecord]:
    """Yield all records of a run in the order of its steps.

    A file that is missing or damaged, or a line that is not a record, raises ValueError; if a list `broken` is given,
    it is skipped and the list gets a one-line message about it.

    >>> correct = [record.correct for record in read_rollouts("runs/quickstart")]
    """
    folder = Path(run_dir) / "rollouts"
    checksums, _ = _read_checksums(folder)
    names = {path.name for path in folder.glob(RECORDS)} | {name for name in checksums if _step_of(name)}
    for name in sorted(names, key=_step_of):
        path = folder / name
        reason = _damage(path, checksums[name]) if name in checksums else None
        if reason is not None:
            _complain(f"{reason}; the rollouts of step {_step_of(name)} are left out", broken)
            continue
        for number, line in read_lines(path):
            try:
                yield RolloutRecord.model_validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, first["loc"]))
                text = f"{path}, line {number}, is not a rollout record: {where and where + ': '}{first['msg']}"
                _complain(text, broken)


def _complain(message: str, broken: list[str] | None) -> None:
    if broken is None:
        raise BadFile(message)
    broken.append(message)
