"""Does an experiment say the same when its policies answer greedily, or answer other problems?

    python -m rlfr_mm.experiment --config configs/experiments/confirm_policies.yaml  # the runs, if they are not there
    python benchmarks/answer_again.py configs/experiments/confirm_policies.yaml \\
        --json docs/results/again/confirm_policies_greedy.json

Experiments measure held-out accuracy on answers that are sampled at temperature 1, as in training. A policy gains there
also by becoming more certain of what it prefers already, which greedy answers do not show. Here the policies that the
runs began and ended with answer the same problems once each, at temperature 0; or with `--samples 4` four times, as in
the experiment. The record has the form of the experiment's own, so that the same tests apply to it: problems, samples,
answers and accuracies are new, and all other fields are those of the runs.

With `--skip 512 --problems 512` they answer the 512 problems behind the first 512 of the held-out data instead: new
ones, if methods were searched and compared on the first.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tqdm import tqdm
from transformers import AutoProcessor

from rlfr_mm.config import EvaluationConfig, ModelArguments, RunConfig
from rlfr_mm.config_file import build
from rlfr_mm.data.load import load_problems
from rlfr_mm.experiments.grid import resolved
from rlfr_mm.experiments.records import UNGRADED, ExperimentRecord, write_results
from rlfr_mm.experiments.runner import Experiment, open_experiment
from rlfr_mm.policy import load_policy
from rlfr_mm.training.held_out import accuracy, by_problem, held_out_answers
from rlfr_mm.training.inputs import settings_of

Verdicts = dict[str, list[bool | None]]  # by problem, of its answers


@dataclass(frozen=True)
class Asked:
    """What the policies are asked: `problems` behind the first `skip`, or those that the runs were evaluated on."""

    samples: int | None = None  # answers per problem, at the experiment's temperature; None: one, greedily
    skip: int = 0
    problems: int | None = None

    def settings(self, evaluation: EvaluationConfig) -> EvaluationConfig:
        """The evaluation of a run, with what is asked here."""
        if self.samples is None:
            evaluation = replace(evaluation, temperature=0)
        if self.problems:
            evaluation = replace(evaluation, data=replace(evaluation.data, limit=self.skip + self.problems))
        return replace(evaluation, samples=self.samples or 1)


def verdicts_of(model: ModelArguments, evaluation: EvaluationConfig, max_new_tokens: int, skip: int) -> Verdicts:
    """The verdicts of a policy's answers to the held-out problems behind the first `skip`."""
    torch.manual_seed(0)
    accelerator = Accelerator()
    policy = load_policy(model).to(accelerator.device)
    processor = AutoProcessor.from_pretrained(model.name_or_path, padding_side="left")
    problems = load_problems(evaluation.data)
    problems = problems.select(range(skip, len(problems)))
    return by_problem(held_out_answers(policy, processor, problems, evaluation, max_new_tokens, accelerator, "answers"))


def answered_again(experiment: Experiment, asked: Asked) -> ExperimentRecord:
    """The finished runs whose policies are there, with their answers to what is asked, before and after training."""
    recorded = {cell.key: cell for cell in experiment.record.cells}
    finished = [cell for cell in experiment.cells if cell.key in recorded]
    answered: dict[tuple[str, str], Verdicts] = {}  # by condition and policy: many runs begin with the same one
    found, ids = [], dict(experiment.record.problems)
    for cell in tqdm(finished, desc="runs", unit="run"):
        run, config = experiment.run_of(cell), build(RunConfig, resolved(cell, experiment.record.base))
        if not (run.path / "final").is_dir():
            continue
        assert config.evaluation is not None  # an experiment has one
        evaluation = asked.settings(config.evaluation)
        first = run.stages.get("warm-up", {"result": config.model.name_or_path})["result"]
        figures: dict[str, Any] = {"samples": evaluation.samples, "curves": {}, "auc_gain": None}
        for stage, policy in ("before", first), ("after", str(run.path / "final")):
            if (key := (cell.condition, policy)) not in answered:
                model = replace(config.model, name_or_path=policy)
                longest = settings_of(config.train).max_completion_length
                answered[key] = verdicts_of(model, evaluation, longest, asked.skip)
            ids[cell.condition], verdicts = list(answered[key]), answered[key].values()
            figures[f"correct_{stage}"] = "".join(UNGRADED if None in each else str(sum(each)) for each in verdicts)
            figures[f"accuracy_{stage}"] = accuracy(verdicts)["accuracy"]
        found.append(recorded[cell.key].model_copy(update=figures))
    return experiment.record.model_copy(update={"cells": found, "problems": ids})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("experiment", type=Path, help="YAML under configs/experiments, whose runs are there")
    parser.add_argument("overrides", nargs="*", help="fields of the YAML, as for the experiment: output_dir=FOLDER")
    parser.add_argument(
        "--skip", type=int, default=0, help="problems of the held-out data that are left out, with --problems"
    )
    parser.add_argument(
        "--problems", type=int, help="number of problems; default: those that the runs were evaluated on"
    )
    parser.add_argument("--samples", type=int, help="answers per problem, sampled; default: one, greedily")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT", help="write the record to this file")
    options = parser.parse_args()
    if options.skip < 0 or (options.problems or 1) < 1 or (options.skip and not options.problems):
        parser.error(f"--skip={options.skip} --problems={options.problems} must be given together, and not be negative")
    if options.samples is not None and not 1 <= options.samples <= 9:
        parser.error(f"--samples={options.samples} must lie in [1, 9]")
    try:
        experiment = open_experiment(options.experiment, options.overrides)
    except ValueError as error:
        parser.error(str(error))
    found = answered_again(experiment, Asked(options.samples, options.skip, options.problems))
    if not found.cells:
        parser.error(f"{experiment.runs} holds no finished run of {options.experiment}: run the experiment first")
    if missing := len(experiment.record.cells) - len(found.cells):
        print(f"{missing} of {len(experiment.record.cells)} recorded runs are left out: their policies are not here")
    write_results(found, options.json)


if __name__ == "__main__":
    main()
