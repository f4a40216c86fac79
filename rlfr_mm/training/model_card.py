"""The model card of a trained policy: README.md in final/, the folder that one publishes."""

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, EvalResultEntry, ModelCard, ModelCardData

from rlfr_mm import __version__
from rlfr_mm.config import DataArguments, RunConfig
from rlfr_mm.data.prompts import with_instruction
from rlfr_mm.files import write_whole
from rlfr_mm.training.hub import EVAL_RESULTS, eval_results_text, task_id
from rlfr_mm.viewing.accuracy import accuracy_text
from rlfr_mm.viewing.run_page import blame_text

TEMPLATE = Path(__file__).with_name("model_card.md.j2")
METHODS = {
    "flow": "RLFR (GRPO with verifiable rewards and a flow reward per token)",
    "redistribute": "GRPO with flow rewards per token in place of the outcome's advantage",
    "scale": "GRPO with verifiable rewards, weighted per token by a flow field",
    "entropy": "GRPO with the entropy advantage",
    "none": "GRPO with verifiable rewards (RLVR)",
}


def write_model_card(
    folder: Path,
    config: RunConfig,
    results: Mapping[str, Any],
    settings: str,
    multimodal: bool,
    repository: str | None = None,
) -> None:
    """Write README.md into the folder of a trained policy, and `.eval_results` if it was held out on hub data.

    Args:
        results: content of summary.json; held-out accuracies are shown with 95 % intervals.
        settings: the run's settings as YAML, without secrets.
        repository: where the folder is uploaded to, if it is.
    """
    name = repository or folder.resolve().parent.name
    base, adapter = config.model.name_or_path, config.model.lora is not None
    shaping = config.train.get("advantage_shaping", "flow")
    task = "image-text-to-text" if multimodal else "text-generation"
    data = ModelCardData(
        model_name=name,
        base_model=base if _is_on_hub(base) else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=task,
        datasets=[config.data.source] if _is_on_hub(config.data.source) else None,
        tags=["rlfr", "grpo", "reinforcement-learning", "mathematics", "trl"] + ["lora"] * adapter,
        eval_results=_eval_results(config, results, task),
    )
    card = ModelCard.from_template(
        data,
        template_str=TEMPLATE.read_text(encoding="utf-8"),
        name=name,
        base=base,
        method=METHODS.get(shaping, f"GRPO with advantages shaped by `{shaping}`") + blame_text(config.train),
        data=config.data.source,
        accuracies={
            name: accuracy_text(results[key])
            for name, key in (("before", "accuracy_before"), ("after", "accuracy_after"))
            if _measured(results.get(key))
        },
        results=results,
        settings=settings,
        version=__version__,
        multimodal=multimodal,
        adapter=adapter,
        # As the problems were asked; JSON's text is Python's, too.
        question=lambda text: json.dumps(with_instruction(text, config.data.instruction)),
    )
    write_whole(folder / "README.md", str(card))
    if (entry := _leaderboard_entry(config, results)) is not None:
        (folder / EVAL_RESULTS).mkdir(exist_ok=True)
        write_whole(folder / EVAL_RESULTS / "held_out.yaml", eval_results_text([entry]))


def _leaderboard_entry(config: RunConfig, results: Mapping[str, Any]) -> EvalResultEntry | None:
    """The held-out accuracy for the page of its dataset; None unless that is on the hub and a whole split was answered.

    A leaderboard takes it for the score of the benchmark.
    """
    found, evaluation = results.get("accuracy_after"), config.evaluation
    if evaluation is None or found is None or not _measured(found):
        return None
    data = evaluation.data
    if data.limit is not None or data.skip_bad_records or data.overlong == "drop" or not _is_on_hub(data.source):
        return None
    responses = "one response" if evaluation.samples == 1 else f"{evaluation.samples} responses"
    return EvalResultEntry(
        dataset_id=data.source,
        task_id=task_id(data.source, data.name, data.split),
        value=round(100 * found["accuracy"], 2),
        dataset_revision=data.revision,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        notes=f"accuracy on the split {data.split}: {accuracy_text(found)}; {responses} per problem at temperature "
        f"{evaluation.temperature:g}, graded by rlfr_mm {__version__}",
    )


def _is_on_hub(source: str) -> bool:
    """Whether a name is that of a repository on the hub."""
    return source.count("/") == 1 and not Path(source).exists()


def _measured(found: Mapping[str, Any] | None) -> bool:
    """Whether an accuracy was measured, and any of its answers could be graded."""
    return found is not None and found["n"] > 0


def _eval_results(config: RunConfig, results: Mapping[str, Any], task: str) -> list[EvalResult] | None:
    """The model-index entry of the held-out accuracy after training, if the run measured it."""
    found, evaluation = results.get("accuracy_after"), config.evaluation
    if evaluation is None or found is None or not _measured(found):
        return None
    held_out: DataArguments = evaluation.data
    return [
        EvalResult(
            task_type=task,
            dataset_type=held_out.source,
            dataset_name=f"held-out problems of {held_out.source}",
            dataset_config=held_out.name,
            dataset_split=held_out.split,
            dataset_revision=held_out.revision,
            metric_type="accuracy",
            metric_name=f"accuracy at temperature {evaluation.temperature:g}, {accuracy_text(found)}",
            metric_value=round(100 * found["accuracy"], 2),
        )
    ]
