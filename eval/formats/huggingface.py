"""The Hugging Face hub: `.eval_results/*.yaml` for its leaderboards, and a model card with a model-index."""

from pathlib import Path

from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData

from rlfr_mm import __version__
from rlfr_mm.eval.formats.base import EvaluatedRun, EvaluatedTask, Format, percent, settings, write_text
from rlfr_mm.eval.formats.tables import markdown_table
from rlfr_mm.training.hub import EVAL_RESULTS, eval_results_text, task_id

CARD_TEMPLATE = Path(__file__).with_name("model_card.md.j2")


def write_eval_results(run: EvaluatedRun, out: Path) -> list[Path]:
    """`.eval_results/<task>.yaml` with one entry each, in percent, for the repository of the model.

    `task_id` is the id in the eval.yaml of the dataset if we know it, and else the configuration of the dataset.
    """
    written = []
    for task in run.tasks:
        result = task.result
        entry = EvalResultEntry(
            dataset_id=result.dataset,
            task_id=task_id(result.dataset, result.config, result.splits[0]),
            value=percent(result.score),
            dataset_revision=result.revision,
            date=run.started,
            notes="; ".join(filter(None, (task.note, described(task), settings(task)))),
        )
        written.append(write_text(out / EVAL_RESULTS / f"{task.spec.name}.yaml", eval_results_text([entry])))
    return written


def described(task: EvaluatedTask) -> str:
    """What the headline score measures, with its interval."""
    result = task.result
    interval = ""
    if result.interval:
        interval = f", 95 % interval {percent(result.interval.low)} to {percent(result.interval.high)}"
    return f"{result.headline} in percent over {result.problems} problems of {_split(task)}{interval}"


def _split(task: EvaluatedTask) -> str:
    """The split of the dataset, or the first and the last of several."""
    return "...".join(dict.fromkeys((task.result.splits[0], task.result.splits[-1])))


def write_model_card(run: EvaluatedRun, out: Path) -> list[Path]:
    """README.md: a model card with a model-index in its header, the scores, the settings, and how to reproduce them."""
    results = [
        EvalResult(
            task_type="text-generation" if task.spec.modality == "text" else "image-text-to-text",
            dataset_type=task.result.dataset,
            dataset_name=task.result.benchmark,
            dataset_config=task.result.config,
            dataset_split=_split(task),
            dataset_revision=task.result.revision,
            metric_type="accuracy",
            metric_name=", ".join(filter(None, (f"{task.result.headline} ({task.protocol} prompt)", task.note))),
            metric_value=percent(task.result.score),
        )
        for task in run.tasks
    ]
    images = any(task.spec.modality == "image" for task in run.tasks)
    data = ModelCardData(
        model_name=run.model,
        eval_results=results,
        pipeline_tag="image-text-to-text" if images else "text-generation",
        tags=["evaluation", "mathematics", "rlfr_mm"],
        datasets=sorted({task.result.dataset for task in run.tasks}),
        metrics=["accuracy"],
    )
    card = ModelCard.from_template(
        data,
        template_str=CARD_TEMPLATE.read_text(encoding="utf-8"),
        version=__version__,
        model=run.model,  # the model_name of the header has become part of its model-index
        manifest=run.manifest,
        session=run.manifest.sessions[-1] if run.manifest.sessions else None,
        table=markdown_table(run),
        tasks=[(task, described(task), settings(task)) for task in run.tasks],
    )
    return [write_text(out / "README.md", str(card))]


_ON_HUB = {"fits": lambda spec: "/" in spec.dataset, "scope": "tasks whose dataset is on the hub"}

FORMATS = {
    "hf-eval-results": Format(write_eval_results, leaderboard=True, **_ON_HUB),
    "model-index": Format(write_model_card, leaderboard=True, **_ON_HUB),
}
