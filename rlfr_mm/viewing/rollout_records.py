"""What a run keeps of its rollouts on disk: one record per rollout, with figures for every token. Loads no torch."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from rlfr_mm.files import BadFile, read_lines
from rlfr_mm.step_files import StepFiles

IMAGES = "images"


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


def rollout_files(run_dir: str | Path) -> StepFiles:
    """The files in RUN/rollouts: the records of each step, and images."""
    return StepFiles(Path(run_dir) / "rollouts", r"(\d+)\.jsonl|images/[^/]+\.png")


class RolloutWriter:
    """Writes `RUN/rollouts/<step>.jsonl` and the image of each problem once, with the checksums of both."""

    def __init__(self, run_dir: str | Path):
        self.files = rollout_files(run_dir)

    def write(self, records: Sequence[RolloutRecord], images: dict[str, Any]) -> None:
        """Write the records of one step, all or none of them; `images` are PIL images by file name."""
        lines = "".join(record.model_dump_json(exclude_none=True) + "\n" for record in records)
        there = self.files.folder / IMAGES
        new = {f"{IMAGES}/{name}": _png(image) for name, image in images.items() if not (there / name).exists()}
        self.files.write(new | {f"{records[0].step:06d}.jsonl": lines.encode()})


def _png(image: Any) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    return encoded.getvalue()


def read_rollouts(run_dir: str | Path, broken: list[str] | None = None) -> Iterator[RolloutRecord]:
    """Yield all records of a run in the order of its steps.

    A file that is missing or damaged, or a line that is not a record, raises ValueError; if a list `broken` is given,
    it is skipped and the list gets a one-line message about it.

    >>> correct = [record.correct for record in read_rollouts("runs/quickstart")]
    """
    for step, path, reason in rollout_files(run_dir).by_step():
        if reason is not None:
            _complain(f"{reason}; the rollouts of step {step} are left out", broken)
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
