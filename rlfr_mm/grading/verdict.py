"""What a grader says about one response: the only type that rewards, tasks and records exchange."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["correct", "wrong", "no_answer", "timeout", "error"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of grading one response against one gold answer.

    `score` is 1.0 for `correct` and 0.0 otherwise (benchmarks with partial credit may set it between).
    `no_answer` counts against the model: nothing that could be an answer was found. `timeout` and `error` mean that
    the grader, not the model, failed; they are `unscored` and are reported apart from wrong answers.
    """

    status: Status
    score: float
    extracted: str | None  # the answer as found in the response, None where none was found
    method: str  # how it was found and compared, such as "boxed+symbolic"
    detail: str = ""  # why it could not be graded; empty otherwise

    @property
    def correct(self) -> bool:
        return self.status == "correct"

    @property
    def unscored(self) -> bool:
        return self.status in ("timeout", "error")
