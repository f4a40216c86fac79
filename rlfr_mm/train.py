"""Train a policy with flow rewards: one command, one YAML file, one run folder.

The run folder holds config.yaml, metrics.jsonl (one row a step), rollouts/, checkpoint-N, evaluation_before.jsonl and
evaluation_after.jsonl (the held-out answers), curve.png, summary.json and final/ (policy, processor and, in flow/, the
field). A killed run goes on with --resume as if it had never been killed.
"""

import json
import math
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlfr_mm.config import QUICKSTART, EvaluationConfig, RunConfig
from rlfr_mm.config_file import build, load_config, one_line_errors, parser_for

if TYPE_CHECKING:
    from accelerate import Accelerator
    from datasets import Dataset

    from rlfr_mm.config import RLFRConfig
    from rlfr_mm.training.curve import plot_run
    from rlfr_mm.training.run_folder import RunFolder
    from rlfr_mm.training.trainer import RLFRTrainer

QUICKSTART_CACHE = Path(".cache/quickstart")  # warmed-up embedded policies, by their settings


def run(config: RunConfig, overwrite: bool = False, resume: bool = False, command: str | None = None) -> dict[str, Any]:
    """All stages of a training run, what was done before left out; returns what summary.json holds."""
    from accelerate import Accelerator

    from rlfr_mm.config import RLFRConfig
    from rlfr_mm.data.load import load_demonstrations, load_problems
    from rlfr_mm.data.processor import check_prompts, load_processor
    from rlfr_mm.policy import load_policy
    from rlfr_mm.training.run_folder import RunFolder, check_run, environment, open_run, write_whole

    with one_line_errors():
        args: RLFRConfig = build(RLFRConfig, config.train, "train")
        problems = load_problems(config.data)
        held_out = load_problems(config.evaluation.data) if config.evaluation else None
        demonstrations = load_demonstrations(config.offline.data) if config.offline else None
        check_run(config, overwrite, resume)
        accelerator = Accelerator(cpu=args.use_cpu)
        if config.benchmarks:
            from rlfr_mm.eval.engine.during_training import check_benchmarks

            check_benchmarks(config.benchmarks, accelerator)
    finished = RunFolder(args.output_dir).summary
    if resume and finished:
        print(f"{args.output_dir} is finished; --overwrite starts again")
        return finished

    model, started = config.model, time.monotonic()
    if model.name_or_path == QUICKSTART:
        from rlfr_mm.quickstart.warmup import prepare_policy

        with accelerator.main_process_first():
            warm = prepare_policy(
                QUICKSTART_CACHE, levels=config.data.levels, seed=0, target_accuracy=model.warmup_accuracy
            )
        model = replace(model, name_or_path=str(warm))
    warmed = time.monotonic()
    with one_line_errors():
        processor = load_processor(model, config.data)
        problems = check_prompts(problems, processor, config.data)
        if config.evaluation and held_out:
            held_out = check_prompts(held_out, processor, config.evaluation.data)
        if config.offline and demonstrations:
            demonstrations = check_prompts(demonstrations, processor, config.offline.data)
        policy = load_policy(model).to(accelerator.device)
        trainer = make_trainer(config, args, policy, processor, problems)
    main = accelerator.is_main_process
    if main:  # everything that could be wrong with the input has been looked at: now a folder may change
        open_run(config, overwrite)
    accelerator.wait_for_everyone()
    folder = RunFolder(args.output_dir, write=main)
    if model is not config.model:
        folder.done("warm-up", warmed - started, model.name_or_path)

    def held_out_accuracy(source: Any, name: str) -> dict[str, Any]:
        evaluation = config.evaluation or EvaluationConfig()
        answers = held_out_answers(
            source, processor, held_out, evaluation, args.max_completion_length, accelerator, f"accuracy {name}"
        )
        if main:
            lines = (json.dumps(answer) + "\n" for answer in answers)
            write_whole(folder.path / f"evaluation_{name}.jsonl", "".join(lines))
        return accuracy([answer["correct"] for answer in answers])

    results = {"method": args.advantage_shaping, "seed": args.seed, "steps": None}
    if config.evaluation:
        results["accuracy_before"] = folder.stage("accuracy before", lambda: held_out_accuracy(policy, "before"))
    if config.offline and args.uses_field:
        from rlfr_mm.method.field import FlowField
        from rlfr_mm.training.offline import train_field

        start = folder.path / "flow"
        arguments = (policy, processor, demonstrations, config.flow, config.offline, start, accelerator)
        folder.stage("flow field", lambda: train_field(*arguments) and str(start))
        trainer.start_fields_from(FlowField.from_pretrained(start))
    results["steps"] = folder.stage("training", lambda: train(config, trainer, processor, folder))
    if config.evaluation:
        trained = load_policy(replace(model, name_or_path=str(folder.path / "final"))).to(accelerator.device)
        results["accuracy_after"] = folder.stage("accuracy after", lambda: held_out_accuracy(trained, "after"))
    if config.benchmarks:
        results["benchmarks"] = json.loads((folder.path / "benchmarks" / "results.json").read_text())
    results["seconds"] = {name: stage["seconds"] for name, stage in folder.stages.items()}
    results |= environment() | {"command": command}
    if main:
        plot_run(folder.metrics(), results, folder.path / "curve.png")
        write_whole(folder.path / "summary.json", json.dumps(results, indent=2) + "\n")
    return results


def make_trainer(
    config: RunConfig, args: "RLFRConfig", policy: Any, processor: Any, problems: "Dataset"
) -> "RLFRTrainer":
    """The trainer with the field that the configuration names, or a random one; ValueError for what does not fit."""
    from peft import LoraConfig

    from rlfr_mm.method.field import FlowField, config_for_policy
    from rlfr_mm.training.callbacks import MetricsWriter
    from rlfr_mm.training.rewards import accuracy_reward, format_reward
    from rlfr_mm.training.trainer import RLFRTrainer

    needed = args.generation_batch_size // args.num_generations
    if len(problems) < needed:
        raise ValueError(
            f"{len(problems)} problems are fewer than the {needed} of a batch of rollouts: use more, or lower "
            "train.per_device_train_batch_size or train.gradient_accumulation_steps"
        )
    if config.flow_reward.score == "departure" and None in problems["expert"]:
        raise ValueError("flow_reward.score=departure needs the one right solution of each problem: source quickstart")
    field = None
    if config.field is not None:
        weights_only = Path(config.field).is_file()
        flow = config_for_policy(config.flow, policy.config) if weights_only else None
        field = FlowField.from_pretrained(config.field, flow)
        field.check_matches(policy.config)
    elif args.uses_field:
        field = FlowField.for_policy(config.flow, policy.config, seed=args.seed)
        if not config.offline:
            if config.flow.standardise:
                raise ValueError("flow.standardise=true needs `offline` or `field`: there the statistics come from")
            print("no `field` and no `offline` section: the flow field starts from random weights")
    try:
        lora = LoraConfig(**config.model.lora) if config.model.lora else None
    except (TypeError, ValueError) as error:
        raise ValueError(f"model.lora={config.model.lora}: {error}") from None
    rewards: list[Callable[..., Any]] = [accuracy_reward]
    args.reward_weights = [1.0]
    if args.format_reward_weight:
        rewards.append(format_reward)
        args.reward_weights.append(args.format_reward_weight)
    return RLFRTrainer(
        model=policy,
        reward_funcs=rewards,
        args=args,
        train_dataset=problems,
        processing_class=processor,
        peft_config=lora,
        field=field if args.uses_field else None,
        flow_reward_config=config.flow_reward,
        update_config=config.update,
        callbacks=[MetricsWriter(args.output_dir)],
    )


def held_out_answers(
    policy: Any,
    processor: Any,
    problems: "Dataset",
    evaluation: EvaluationConfig,
    max_new_tokens: int,
    accelerator: "Accelerator",
    description: str,
) -> list[dict[str, Any]]:
    """One row per problem, in their order: problem_id, completion, and `correct`, None where it could not be graded.

    Graded by the training reward. Each process answers its share, and all get all rows.
    """
    from accelerate.utils import gather_object

    from rlfr_mm.policy import answer_problems
    from rlfr_mm.training.rewards import accuracy_reward

    share = problems.shard(accelerator.num_processes, accelerator.process_index, contiguous=True)
    completions = answer_problems(
        policy.eval(),
        processor,
        share,
        batch_size=evaluation.batch_size,
        max_new_tokens=max_new_tokens,
        temperature=evaluation.temperature,
        seed=evaluation.seed + accelerator.process_index,
        description=description,
    )
    rewards = accuracy_reward(completions=completions, solution=share["solution"], choices=share["choices"])
    return gather_object(
        [
            {"problem_id": problem_id, "correct": None if reward is None else reward == 1, "completion": completion}
            for problem_id, reward, completion in zip(share["problem_id"], rewards, completions, strict=True)
        ]
    )


def accuracy(correct: list[bool | None]) -> dict[str, Any]:
    """The share of right answers among those that could be graded, with its standard error."""
    graded = [right for right in correct if right is not None]
    mean = sum(graded) / len(graded) if graded else math.nan
    error = math.sqrt(mean * (1 - mean) / len(graded)) if graded else math.nan
    unscored = len(correct) - len(graded)
    return {"accuracy": round(mean, 4), "standard_error": round(error, 4), "n": len(graded), "unscored": unscored}


def train(config: RunConfig, trainer: "RLFRTrainer", processor: Any, folder: "RunFolder") -> int:
    """The RL stage, from the last checkpoint where there is one; writes final/ and returns the number of steps."""
    from transformers import set_seed

    from rlfr_mm.training.callbacks import EverySoManySteps

    checkpoint = folder.last_checkpoint
    if folder.write:
        folder.cut_after(int(checkpoint.name.removeprefix("checkpoint-")) if checkpoint else 0)
    if benchmarks := config.benchmarks:
        from rlfr_mm.eval.engine.during_training import answer_benchmarks

        def work(step: int) -> None:
            if folder.write:
                policy = trainer.accelerator.unwrap_model(trainer.model)
                scores = answer_benchmarks(policy, processor, benchmarks, folder, step)
                print(f"step {step}: " + ", ".join(f"{task} {score:.3f}" for task, score in scores.items()))
            trainer.accelerator.wait_for_everyone()

        trainer.add_callback(EverySoManySteps(benchmarks.steps, work))
    set_seed(trainer.args.seed)  # whatever was done before, in this process or an earlier one
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trainer.save_policy(folder.path / "final")
    return trainer.state.global_step


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("rlfr_mm.train", __doc__, RunConfig)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--overwrite", action="store_true", help="empty the run folder and start again")
    choice.add_argument("--resume", action="store_true", help="go on with the run in the run folder")
    arguments = parser.parse_args(argv)
    with one_line_errors():
        config: RunConfig = load_config(RunConfig, arguments.config, arguments.overrides)
    config.train["output_dir"] = config.train.get("output_dir") or f"runs/{Path(arguments.config).stem}"
    command = shlex.join(["python", "-m", "rlfr_mm.train", "--config", arguments.config, *arguments.overrides])
    results = run(config, arguments.overwrite, arguments.resume, command)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
