"""The outcome of grading one response: the one type that rewards, tasks and records exchange."""

from dataclasses import dataclass
from typing import Literal

Status = Literal["correct", "wrong", "no_answer", "timeout", "error"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of grading one response.

    - `score` is 1.0 if the status is `correct` and 0.0 otherwise (a benchmark with partial credit may set it between).
    - `no_answer` counts against the model: the response contains nothing that could be an answer.
    - `timeout` and `error` mean that the grader failed, not the model. They are `unscored`, and are reported apart
      from wrong answers.
    """

    status: Status
    score: float
    extracted: str | None  # the answer as the response writes it; None if none was found
    method: str  # how it was found and compared, such as "boxed+symbolic"
    detail: str = ""  # why the response could not be graded; empty if it was
    span: tuple[int, int] | None = None  # the characters of the response that were read; None if not a part of it

    @property
    def correct(self) -> bool:
        return self.status == "correct"

    @property
    def unscored(self) -> bool:
        return self.status in ("timeout", "error")
