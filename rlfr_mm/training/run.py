"""One training run, its stages in order: `prepare` checks the input, `Run.carry_out` does the work."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list, set_seed
from datasets import Dataset
from peft import LoraConfig
from transformers import ProcessorMixin
from transformers.integrations import unset_hf_deepspeed_config

from rlfr_mm.config import (
    QUICKSTART,
    EvaluationConfig,
    ModelArguments,
    OfflineConfig,
    RLFRConfig,
    RunConfig,
    steps_per_batch,
)
from rlfr_mm.config_file import require
from rlfr_mm.files import LOCK, locked, read_json, with_checksum, write_json, write_json_lines, write_whole
from rlfr_mm.method.field import FlowField, config_for_policy
from rlfr_mm.method.scores import SCORES
from rlfr_mm.policy import Processor, load_policy, response_ends, vision_tower
from rlfr_mm.precheck import HELD_OUT, planned_launch
from rlfr_mm.quickstart.warmup import prepare_policy
from rlfr_mm.quickstart.world import Rules
from rlfr_mm.secrets import hide_secrets
from rlfr_mm.training.bad_steps import BadSteps
from rlfr_mm.training.callbacks import EverySoManySteps, KeepBest, MetricsWriter
from rlfr_mm.training.checkpoints import refusal
from rlfr_mm.training.curve import plot_run
from rlfr_mm.training.estimate import check_disk, disk, plan_of
from rlfr_mm.training.held_out import accuracy, best_step, by_problem, held_out_answers
from rlfr_mm.training.hub import repository_of, upload
from rlfr_mm.training.inputs import check_images, checked_data, load_data, naming_settings, settings_of
from rlfr_mm.training.model_card import write_model_card
from rlfr_mm.training.offline import OfflineStart
from rlfr_mm.training.own_rewards import RewardError, load_rewards
from rlfr_mm.training.run_folder import (
    BENCHMARKS,
    LEFT_OUT,
    RunFolder,
    answer_files,
    check_run,
    check_states,
    environment,
    newest_whole,
    open_run,
    step_of,
)
from rlfr_mm.training.shared_fields import run_or_take
from rlfr_mm.training.stopping import StopAtCheckpoint, StopSignals
from rlfr_mm.training.trainer import RLFRTrainer

QUICKSTART_CACHE = Path(".cache/quickstart")  # warmed-up embedded policies, by their settings


def prepare(config: RunConfig, overwrite: bool, resume: bool, benchmarks: Any = None) -> "Run | None":
    """Load and check everything that a run needs; None if --resume finds the run finished.

    ValueError in one line if something does not fit. The run's folder changes only after everything is checked.
    `rlfr_mm.precheck` and `check_run` must come first. From then on the run holds the folder's lock. `benchmarks` is
    rlfr_mm.eval.engine.during_training, which the library must not import, if that section is on.
    """
    with ExitStack() as held:
        run = _prepare(config, overwrite, resume, benchmarks, held)
        if run is not None:
            run.held = held.pop_all()
    return run


def _prepare(config: RunConfig, overwrite: bool, resume: bool, benchmarks: Any, held: ExitStack) -> "Run | None":
    args = settings_of(config.train)
    processes = PartialState(cpu=args.use_cpu)  # TRL makes the Accelerator, whose precision is fixed once it exists
    data, launch = load_data(config), planned_launch(config.train)
    if config.benchmarks:
        benchmarks.check_benchmarks(config.benchmarks, launch.sharding != "none")
    if args.hub_token:  # not among the settings, which transformers pickles and hands to loggers
        os.environ["HF_TOKEN"], args.hub_token = args.hub_token, None
    path, main = Path(args.output_dir), processes.is_main_process
    lock = locked(path / LOCK, str(path))
    holds = main and path.exists() and any(path.iterdir())
    if holds:  # before anything expensive: another process may be at this run
        held.enter_context(lock)
    resumed = RunFolder(path, write=main) if resume else None
    if resumed and resumed.is_finished:
        return None
    if resumed and (checkpoint := resumed.last_checkpoint):
        check_states(checkpoint, processes.num_processes)

    repository = repository_of(config.train, args, main)
    started = time.monotonic()
    model = _embedded_policy(config, processes) if config.model.name_or_path == QUICKSTART else config.model
    warmed = time.monotonic()
    processor, data = checked_data(config, args, model, data)
    check_images(config, launch, data)
    if config.benchmarks:
        benchmarks.check_policy(config.benchmarks, config.model.name_or_path, processor)
    with outside_deepspeed(args):
        policy = load_policy(model).to(processes.device)
    policy.generation_config.eos_token_id = response_ends(policy, processor)  # TRL and final/ take it from there
    flow = _initial_field(config, args, policy)
    trainer = make_trainer(config, args, policy, processor, data.problems, flow)
    plan = plan_of(config, args, launch, trainer.model, flow, max(data.prompt_tokens))
    check_disk(disk(plan, len(data.problems)), args.output_dir)
    if main:
        if not holds:
            held.enter_context(lock)
            check_run(config, overwrite, resume)  # another process may have begun here in the meantime
        open_run(config, overwrite)
        if data.reasons:
            write_whole(path / LEFT_OUT, "\n".join(data.reasons) + "\n")
    processes.wait_for_everyone()
    folder = resumed or RunFolder(path, write=main)
    if model is not config.model:
        folder.done("warm-up", warmed - started, model.name_or_path)
    held_out, demonstrations = data.held_out, data.demonstrations
    return Run(
        config, args, model, policy, processor, held_out, demonstrations, trainer, folder, benchmarks, repository
    )


@contextmanager
def outside_deepspeed(args: RLFRConfig) -> Iterator[None]:
    """Inside the body, transformers loads a policy whole and runs it as on one process.

    Otherwise ZeRO-3 shards it on loading, but only its engine, which exists during training, can run shards.
    """
    if args.deepspeed_plugin is None:
        yield
        return
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        args.deepspeed_plugin.set_deepspeed_weakref()


def _embedded_policy(config: RunConfig, processes: PartialState) -> ModelArguments:
    """The model settings with the folder of the embedded policy, which is prepared first if it is not in the cache."""
    model, data = config.model, config.data
    with processes.main_process_first():
        warm = prepare_policy(
            QUICKSTART_CACHE,
            levels=data.levels,
            seed=model.warmup_seed,
            target_accuracy=model.warmup_accuracy,
            rules=Rules(data.operations, data.max_value),
        )
    return replace(config.model, name_or_path=str(warm))


@dataclass
class Run:
    """A training run that is ready to start or to continue."""

    config: RunConfig
    args: RLFRConfig
    model: ModelArguments  # where the policy was loaded from
    policy: Any
    processor: Processor
    held_out: Dataset | None
    demonstrations: Dataset | None
    trainer: RLFRTrainer
    folder: RunFolder
    benchmarks: Any
    repository: str | None  # on the hub, for final/
    held: ExitStack = field(default_factory=ExitStack)  # of the folder's lock
    stop: StopSignals = field(init=False)

    def carry_out(self, command: str) -> dict[str, Any]:
        """All stages that are not done yet; returns the content of summary.json, which records `command`.

        SIGTERM and SIGUSR1 end the process with status `stopping.STOPPED` after the next checkpoint, Ctrl-C at once.
        """
        several = self.trainer.accelerator.num_processes > 1
        launched = command.replace("python", "accelerate launch ...", 1) if several else command
        how = f"the same command with --resume continues the run in {self.folder.path}: {launched} --resume"
        self.stop = StopSignals(how, say=self.folder.write)
        with self.held, self.stop.taken():
            try:
                return self._stages(command)
            except RewardError as error:
                raise RewardError(f"{error}; {how}") from error

    def _stages(self, command: str) -> dict[str, Any]:
        config, folder, path = self.config, self.folder, self.folder.path
        results = {"method": self.args.advantage_shaping, "seed": self.args.seed, "steps": None}
        results["rewards"] = {reward.name: reward.weight for reward in load_rewards(config)}
        if config.evaluation:
            file = "evaluation_before.jsonl"
            work = partial(self._held_out_accuracy, self.policy, config.evaluation, "accuracy before", file)
            results["accuracy_before"] = folder.stage("accuracy before", work, file)
        if config.offline and self.trainer.flow is not None:
            start = path / "flow"
            folder.repeat_if_damaged("flow field", start)
            with self.stop.at_steps("the flow field's offline start"):
                folder.stage("flow field", partial(self._offline_start, config.offline, start))
            self.trainer.flow.start_from(FlowField.from_pretrained(start))
        folder.repeat_if_damaged("training", path / "final")
        with self.stop.at_steps("the last training step"):
            results["steps"] = folder.stage("training", self._train)
        if config.evaluation:
            work = partial(self._accuracy_after, config.evaluation)
            results["accuracy_after"] = folder.stage("accuracy after", work, "evaluation_after.jsonl")
        if config.benchmarks:
            results["benchmarks"] = read_json(path / BENCHMARKS / "results.json")
        results["seconds"] = {name: stage["seconds"] for name, stage in folder.stages.items()}
        results |= {"bad_steps": BadSteps(path).count} | environment() | {"command": hide_secrets(command)}
        if folder.write:
            folder.cut_after(results["steps"], self.args.logging_steps)  # names what was damaged since it was written
            if best := best_step(metrics := folder.metrics()):
                results |= {"best": best, "final_is_best": self.args.load_best_model_at_end}
            plot_run(metrics, results, path / "curve.png")
            settings = (path / "config.yaml").read_text(encoding="utf-8")
            multimodal = isinstance(self.processor, ProcessorMixin)
            write_model_card(path / "final", config, results, settings, multimodal, self.repository)
            if self.benchmarks:
                self.benchmarks.write_leaderboard_files(folder, results["steps"], path / "final")
            write_json(path / "summary.json", with_checksum(results))
        if self.repository:
            message = f"{results['method']}, {results['steps']} steps"
            if address := upload(path / "final", self.repository, self.args.hub_revision, message):
                print(f"uploaded: {address}")
        return results

    def _accuracy_after(self, evaluation: EvaluationConfig) -> dict[str, Any]:
        """Held-out accuracy of the trained policy: the one in memory, or final/ if another process trained it."""
        trainer = self.trainer
        trained_here = trainer.state.global_step > 0
        if trained_here and not trainer.is_sharded:
            policy = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        else:
            final = replace(self.model, name_or_path=str(self.folder.path / "final"))
            with outside_deepspeed(self.args):
                policy = load_policy(final).to(trainer.accelerator.device)
        return self._held_out_accuracy(policy, evaluation, "accuracy after", "evaluation_after.jsonl")

    def _measure(self, evaluation: EvaluationConfig, step: int) -> bool:
        """Measure and log the held-out accuracy at a step during training; returns whether it is the best so far."""
        policy, files = self.trainer.accelerator.unwrap_model(self.trainer.model), answer_files(self.folder.path)
        title, name = f"accuracy at step {step}", f"step-{step:06d}.jsonl"
        found = self._held_out_accuracy(policy, evaluation, title, f"{files.folder.name}/{name}")
        if self.folder.write:
            files.record(name)
            print(
                f"step {step}: held-out accuracy {found['accuracy']:.3f}, standard error {found['standard_error']:.3f}"
            )
        return self.trainer.log_held_out(found)

    def _held_out_accuracy(self, policy: Any, evaluation: EvaluationConfig, title: str, file: str) -> dict[str, Any]:
        length, accelerator = self.args.max_completion_length, self.trainer.accelerator
        with outside_deepspeed(self.args):
            answers = held_out_answers(policy, self.processor, self.held_out, evaluation, length, accelerator, title)
        if self.folder.write:
            write_json_lines(self.folder.path / file, answers)
        return accuracy(by_problem(answers).values())

    def _offline_start(self, offline: OfflineConfig, start: Path) -> str:
        rows, flow = self.demonstrations, self.config.flow
        work = OfflineStart(self.policy, self.processor, rows, flow, offline, start, self.trainer.accelerator)
        run_or_take(work, self.stop) if offline.shared_dir else work.run(self.stop)
        return str(start)

    def _train(self) -> int:
        """The RL stage, from the last checkpoint if there is one; writes final/ and returns the number of steps."""
        args, accelerator = self.trainer.args, self.trainer.accelerator
        checkpoint = self._checkpoint()
        if self.folder.write:
            self.folder.cut_after(step_of(checkpoint) if checkpoint else 0, args.logging_steps)
        if self.config.evaluation and self.config.evaluation.steps:
            measure = partial(self._measure, self.config.evaluation)
            self.trainer.add_callback(KeepBest(self.config.evaluation.steps, measure))
        if self.config.benchmarks:
            self.trainer.add_callback(EverySoManySteps(self.config.benchmarks.steps, self._answer_benchmarks))
        self.trainer.add_callback(StopAtCheckpoint(self.stop, accelerator, steps_per_batch(args)))
        # Earlier stages, in this process or another, must not matter, and no process may sample what another samples.
        set_seed(args.seed, device_specific=True)
        self.trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        self.trainer.save_policy(self.folder.path / "final")
        return self.trainer.state.global_step

    def _checkpoint(self) -> Path | None:
        """The newest whole checkpoint. One process reads and compares the files, and all get its answer."""
        found: list[Path | None] = [None]
        if self.folder.write:
            trust = self.config.model.trust_remote_code
            found = [newest_whole(self.folder.path, partial(refusal, trust_remote_code=trust))]
        return broadcast_object_list(found)[0]

    def _answer_benchmarks(self, step: int) -> None:
        policy, settings = self.trainer.accelerator.unwrap_model(self.trainer.model), self.config.benchmarks
        scores = self.benchmarks.answer_benchmarks(policy, self.processor, settings, self.folder, step)
        if self.folder.write:
            print(f"step {step}: " + ", ".join(f"{task} {score:.3f}" for task, score in scores.items()))


def make_trainer(
    config: RunConfig, args: RLFRConfig, policy: Any, processor: Processor, problems: Dataset, flow: FlowField | None
) -> RLFRTrainer:
    """The trainer, with its rewards, its field and its LoRA adapter; ValueError for settings that do not fit."""
    needed = args.generation_batch_size // args.num_generations
    if len(problems) < needed:
        raise ValueError(
            f"{len(problems)} problems are fewer than the {needed} of a batch of rollouts: use more, or lower "
            "train.per_device_train_batch_size or train.gradient_accumulation_steps"
        )
    score = config.flow_reward.score
    if SCORES[score].needs_experts and None in problems["expert"]:
        raise ValueError(f"flow_reward.score={score} needs the only correct solution of each problem: use quickstart")
    if config.evaluation and config.evaluation.steps:
        args.metric_for_best_model, args.greater_is_better = HELD_OUT, True
        steps, every = steps_per_batch(args), config.evaluation.steps
        between = args.save_strategy == "no" or every % steps == 0
        require(
            between, f"evaluation.steps={every}", f"a multiple of {steps:g}, the policy steps per batch of rollouts"
        )
    rewards = load_rewards(config)
    args.reward_weights = [reward.weight for reward in rewards]
    with naming_settings(config.train):
        return RLFRTrainer(
            model=policy,
            reward_funcs=[reward.call for reward in rewards],
            args=args,
            train_dataset=problems,
            processing_class=processor,
            peft_config=_adapter(config.model, policy),
            field=flow if args.uses_field else None,
            flow_reward_config=config.flow_reward,
            update_config=config.update,
            callbacks=[MetricsWriter(args.output_dir)],
        )


def _adapter(model: ModelArguments, policy: Any) -> LoraConfig | None:
    """The LoRA adapter to train, if any; it leaves a frozen vision tower alone."""
    try:
        lora = LoraConfig(**model.lora) if model.lora else None
    except (TypeError, ValueError) as error:
        raise ValueError(f"model.lora={model.lora}: {error}") from None
    if lora and model.freeze_vision and (tower := vision_tower(policy)):
        if lora.exclude_modules:
            raise ValueError("model.lora.exclude_modules needs model.freeze_vision=false: a frozen tower is excluded")
        lora.exclude_modules = rf"{re.escape(tower)}\..*"
    return lora


def _initial_field(config: RunConfig, args: RLFRConfig, policy: Any) -> FlowField | None:
    """The field that the configuration names, or one with random weights; ValueError if it does not fit the policy."""
    if config.field is not None:
        weights_only = Path(config.field).is_file()
        flow = config_for_policy(config.flow, policy.config) if weights_only else None
        field = FlowField.from_pretrained(config.field, flow)
        field.check_matches(policy.config)
        return field
    if not args.uses_field:
        return None
    return FlowField.for_policy(config.flow, policy.config, seed=args.seed)
