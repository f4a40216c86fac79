"""What a run keeps of its rollouts on disk: one record each, with every token's figures. Loads no torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


class RolloutRecord(BaseModel):
    """One completion with its rewards. Lists have one entry per response token, `tokens` their text."""

    model_config = ConfigDict(extra="forbid")

    step: int
    problem_id: str
    sample: int  # index within the group of completions of one prompt
    prompt: str
    image: str | None = None  # file under rollouts/images
    solution: str
    completion: str
    rewards: dict[str, float | None]  # by reward function; None where it could not be graded
    correct: bool | None = None  # None where it could not be graded
    advantage: float  # GRPO's, before shaping
    tokens: list[str]
    advantages: list[float]
    logprob: list[float]
    entropy: list[float]
    deviation: list[float] | None = None  # only where the flow is on
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
        """What was added to GRPO's advantage at each token; 0 where it is no more than the rounding of both."""
        rounding = 1e-4 * abs(self.advantage) + 1e-6
        added = [value - self.advantage for value in self.advantages]
        return [value if abs(value) > rounding else 0.0 for value in added]


class RolloutWriter:
    """Writes `RUN/rollouts/<step>.jsonl` and each problem's image once."""

    def __init__(self, run_dir: str | Path):
        self.folder = Path(run_dir) / "rollouts"

    def write(self, records: Sequence[RolloutRecord], images: dict[str, Any]) -> None:
        """Write the records of one step whole or not at all; `images` are PIL images by file name."""
        (self.folder / "images").mkdir(parents=True, exist_ok=True)
        for name, image in images.items():
            if not (self.folder / "images" / name).exists():
                image.save(self.folder / "images" / name)
        target = self.folder / f"{records[0].step:06d}.jsonl"
        partial = target.with_suffix(".partial")
        lines = (record.model_dump_json(exclude_none=True) + "\n" for record in records)
        partial.write_text("".join(lines), encoding="utf-8")
        partial.replace(target)

    def cut_after(self, step: int) -> None:
        """Remove the records of steps after `step`, which a resumed run makes again."""
        for path in self.folder.glob("*.jsonl"):
            if int(path.stem) > step:
                path.unlink()


def read_rollouts(run_dir: str | Path, broken: list[str] | None = None) -> Iterator[RolloutRecord]:
    """All records of a run in the order of its steps.

    Lines that are no record are left out and named in `broken`, one line of text each; ValueError where it is None.
    """
    for path in sorted((Path(run_dir) / "rollouts").glob("*.jsonl")):
        # Bytes are split at newlines only: text of a model may hold other characters that Python takes for line ends.
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if not line:
                continue
            try:
                yield RolloutRecord.model_validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                where = ".".join(map(str, first["loc"]))
                complaint = (
                    f"{path}, line {number}, is no rollout record: {where + ': ' if where else ''}{first['msg']}"
                )
                if broken is None:
                    raise ValueError(complaint) from None
                broken.append(complaint)
