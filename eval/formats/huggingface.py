"""The Hugging Face hub: `.eval_results/*.yaml` for its leaderboards, and a model card with a model-index."""

from pathlib import Path

from rlfr_mm import __version__
from rlfr_mm.eval.formats.base import EvaluatedRun, EvaluatedTask, Format, percent, settings, split_name, write_text
from rlfr_mm.eval.formats.tables import markdown_table
from rlfr_mm.tasks.spec import TaskSpec

CARD_TEMPLATE = Path(__file__).with_name("model_card.md.j2")


def write_eval_results(run: EvaluatedRun, out: Path) -> list[Path]:
    """`.eval_results/<task>.yaml` with one entry each, in percent; the folder goes into the model's repository.

    `task_id` is the dataset's configuration, the usual name; where the dataset's own eval.yaml says otherwise, the
    entry must be changed.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    written = []
    for task in run.tasks:
        result = task.result
        entry = EvalResultEntry(
            dataset_id=result.dataset,
            task_id=result.config or "default",
            value=percent(result.score),
            dataset_revision=result.revision,
            date=run.started,
            notes="; ".join(filter(None, (task.note, described(task), settings(task)))),
        )
        text = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True, width=1000)
        written.append(write_text(out / ".eval_results" / f"{task.spec.name}.yaml", text))
    return written


def described(task: EvaluatedTask) -> str:
    """What the headline score is, with its interval."""
    result = task.result
    interval = ""
    if result.interval:
        interval = f", 95 % interval {percent(result.interval.low)} to {percent(result.interval.high)}"
    return f"{result.headline} in percent over {result.problems} problems of {split_name(result)}{interval}"


def write_model_card(run: EvaluatedRun, out: Path) -> list[Path]:
    """README.md: a model card with a model-index in its header; what was measured, how, and how to do it again."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation" if task.spec.modality == "text" else "image-text-to-text",
            dataset_type=task.result.dataset,
            dataset_name=task.result.benchmark,
            dataset_config=task.result.config,
            dataset_split=split_name(task.result),
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
    session = run.manifest.sessions[-1] if run.manifest.sessions else None
    card = ModelCard.from_template(
        data,
        template_str=CARD_TEMPLATE.read_text(encoding="utf-8"),
        version=__version__,
        model=run.model,  # the header's model_name has become part of its model-index
        manifest=run.manifest,
        session=session,
        table=markdown_table(run),
        tasks=[(task, described(task), settings(task)) for task in run.tasks],
    )
    return [write_text(out / "README.md", str(card))]


def _on_hub(spec: TaskSpec) -> bool:
    return "/" in spec.dataset


FORMATS = {
    "hf-eval-results": Format(
        write_eval_results, leaderboard=True, fits=_on_hub, scope="tasks whose dataset is on the hub"
    ),
    "model-index": Format(write_model_card, leaderboard=True, fits=_on_hub, scope="tasks whose dataset is on the hub"),
}
