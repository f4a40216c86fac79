"""The hub: `final/` is uploaded once, when the run is complete, with its card and its scores (`train.push_to_hub`)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResultEntry, HfApi, eval_result_entries_to_yaml

from rlfr_mm.config_file import require
from rlfr_mm.files import warn
from rlfr_mm.secrets import hide_secrets

EVAL_RESULTS = ".eval_results"  # the folder of a model repository in which the hub looks for scores
# The ids of tasks in the eval.yaml of a dataset, by dataset and split, where they are not those of its configurations.
TASK_IDS = {
    ("MathLLMs/MathVision", "test"): "mathvision",
    ("MathLLMs/MathVision", "testmini"): "mathvision_testmini",
}


def repository_of(train: dict[str, Any], args: Any, main: bool = True) -> str | None:
    """The id of the repository that a run uploads to, which exists from now on; None if it uploads nothing.

    `train` are the settings as given, and `args` all of them; those for uploads are taken out of `args`, because
    TRL's trainer would upload the whole run folder, without the card and with every rollout. Only the main process of
    a run asks the hub and gets the id. ValueError in one line if the hub refuses.
    """
    if not args.push_to_hub:
        return None
    strategy = train.get("hub_strategy", "end")
    require(strategy == "end", f"train.hub_strategy={strategy}", "left out: a run uploads final/ once, at its end")
    args.push_to_hub = False
    if not main:
        return None
    name = args.hub_model_id or Path(args.output_dir).resolve().name
    try:
        found = HfApi().create_repo(name, private=args.hub_private_repo, exist_ok=True)
        if args.hub_revision:
            HfApi().create_branch(found.repo_id, branch=args.hub_revision, exist_ok=True)
    except Exception as error:  # of the hub, of the network and of a missing token have no base class in common
        raise ValueError(
            f"train.push_to_hub=true, but the hub refuses the repository {name}: {_one_line(error)}; set HF_TOKEN to a "
            "token that may write there, name a repository in train.hub_model_id, or leave push_to_hub out"
        ) from None
    return str(found.repo_id)


def upload(folder: Path, repository: str, revision: str | None, message: str) -> str | None:
    """Upload a folder as one commit and return the address of the repository.

    None if that fails, after a warning that says how to upload by hand: the run itself is complete.
    """
    try:
        HfApi().upload_folder(repo_id=repository, folder_path=folder, revision=revision, commit_message=message)
    except Exception as error:  # see above
        by_hand = f"hf upload {repository} {folder} ." + (f" --revision {revision}" if revision else "")
        warn(f"the run is complete, but {folder} was not uploaded: {_one_line(error)}; to upload it: {by_hand}")
        return None
    return f"{HfApi().endpoint}/{repository}"


def task_id(dataset: str, config: str | None, split: str) -> str:
    """The id of a benchmark's task: that in the dataset's eval.yaml if we know it, else the dataset's configuration.

    >>> task_id("openai/gsm8k", "main", "test")
    'main'
    """
    return TASK_IDS.get((dataset, split), config or "default")


def eval_results_text(entries: Sequence[EvalResultEntry]) -> str:
    """The content of a file in `.eval_results`, from which the hub shows scores on the pages of model and benchmark.

    >>> print(eval_results_text([EvalResultEntry(dataset_id="ORG/DATA", task_id="default", value=62.0)]), end="")
    - dataset:
        id: ORG/DATA
        task_id: default
      value: 62.0
    """
    listed = eval_result_entries_to_yaml(list(entries))
    return yaml.safe_dump(listed, sort_keys=False, allow_unicode=True, width=1000)


def _one_line(error: Exception) -> str:
    return hide_secrets(" ".join(str(error).split())[:500]) or type(error).__name__
