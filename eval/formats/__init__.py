"""The file formats of leaderboards and other harnesses by name, with their writers and readers."""

from rlfr_mm.eval.formats import boards, every_eval_ever, huggingface, lmms_eval, tables, vlmevalkit
from rlfr_mm.eval.formats.base import EvaluatedRun, EvaluatedTask, Format, Response

__all__ = ["FORMATS", "EvaluatedRun", "EvaluatedTask", "Format", "Response"]

FORMATS: dict[str, Format] = {
    **huggingface.FORMATS,
    **every_eval_ever.FORMATS,
    **lmms_eval.FORMATS,
    **vlmevalkit.FORMATS,
    **boards.FORMATS,
    **tables.FORMATS,
}
