"""VisuLogic: 1,000 visual reasoning problems in six categories, with four options each and pictures in images.zip."""

from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub

from rlfr_mm.tasks.records import without_image_markers
from rlfr_mm.tasks.spec import Doc, TaskSpec

if TYPE_CHECKING:
    from datasets import Dataset

_DATASET = "VisuLogic/VisuLogic"
_INSTRUCTION = (
    "Solve the complex visual logical reasoning problem through step-by-step reasoning. Think about the reasoning "
    "process first and answer the question following this format: Answer: \\boxed{$LETTER}."
)


def question(doc: Doc) -> str:
    return without_image_markers(doc["question"])


def with_images(dataset: "Dataset", root: Path) -> "Dataset":
    """The records with a column `image`, read from the archive under `root`, or from the hub if there is none."""
    from datasets import Image

    archive = root / _DATASET / "images.zip"
    if not archive.is_file():
        archive = Path(huggingface_hub.hf_hub_download(_DATASET, "images.zip", repo_type="dataset"))
    inside = [f"zip://{path.removeprefix('./')}::{archive.resolve()}" for path in dataset["image_path"]]
    return dataset.add_column("image", inside).cast_column("image", Image())


_visulogic = TaskSpec(
    name="rlfr_visulogic",
    benchmark="VisuLogic",
    dataset=_DATASET,
    data_files="data.jsonl",
    splits=("train",),
    rows=1000,
    scorer="visulogic",
    problem_id=lambda doc: str(doc["id"]),
    question=question,
    gold=lambda doc: doc["label"],
    image="image",
    categories=lambda doc: {"category": [doc["tag"]]},
    breakdown=("category",),
    prepare=with_images,
    paper_column="VisuLogic",
)

# VisuLogic-Benchmark/VisuLogic-Eval, models/prompts.py
TASKS = (_visulogic, _visulogic.official(lambda doc: f"{question(doc)}\n{_INSTRUCTION}"))
