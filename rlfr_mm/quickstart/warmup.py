"""Warm up the tiny policy in three stages: it learns to see, to count, and then to answer half of the questions.

`python -m rlfr_mm.quickstart.warmup` does it for the quickstart, which takes minutes on one core, and puts the weights
into the package (`rlfr_mm.quickstart.shipped`). Do it when the world, the model or the warm-up has changed.
"""

import hashlib
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLProcessor

from rlfr_mm.files import shared_folder, write_json
from rlfr_mm.grading.strict.extract import last_answer_tag
from rlfr_mm.policy import answer_problems, encode_demonstrations
from rlfr_mm.quickstart import policy, shipped, world

BATCH_SIZE = 64
LEARNING_RATE = 1.5e-3
RAMP_STEPS = 20  # steps of the linear learning-rate warm-up
BETAS = (0.9, 0.98)  # the second value forgets the large gradients of the first steps within 50 steps
CELL_TARGET = 0.99  # share of cells named correctly that ends the first stage
COUNT_TARGET = 0.7  # share of counts named correctly that ends the second stage
MAX_STEPS = 1000  # per stage
CHECK_EVERY = 20  # steps between two measurements
CHECK_PROBLEMS = 256  # standard error 0.03 at an accuracy of one half
MAX_NEW_TOKENS = 64
QUICKSTART_SETTINGS: dict[str, Any] = {"levels": [2], "seed": 0, "target_accuracy": 0.5}  # configs/rl/quickstart.yaml

Problems = Sequence[world.Problem]
IGNORED = -100  # label of tokens that do not count in the loss


@dataclass(frozen=True)
class Stage:
    """One stage of the warm-up: train `parameters` on `loss` until `measure()` reaches `target`."""

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Problems], Tensor]
    measure: Callable[[], float]
    target: float


def prepare_policy(
    cache_dir: str | Path,
    *,
    levels: Sequence[int],
    seed: int,
    target_accuracy: float = 0.5,
    rules: world.Rules = world.DEFAULT_RULES,
) -> Path:
    """The folder of a warmed-up policy, made once per settings and version of the files that define it.

    With the settings of the quickstart it is the policy that comes with the package (`rlfr_mm.quickstart.shipped`).
    Others are trained here, which takes minutes on one core. `warmup.json` in the folder holds the measurements of the
    warm-up. Several processes may call this at the same time: all of them get the folder of the first that finishes.
    """
    settings = {"levels": list(levels), "seed": seed, "target_accuracy": target_accuracy}
    is_shipped = shipped.SHIPPED.is_file() and shipped.settings() == settings and rules == world.DEFAULT_RULES
    digest = hashlib.sha256(json.dumps(settings | asdict(rules)).encode())
    for source in (world.__file__, policy.__file__, shipped.SHIPPED if is_shipped else __file__):
        digest.update(Path(str(source)).read_bytes())
    folder = Path(cache_dir) / f"policy-{digest.hexdigest()[:16]}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory() as untrained, shared_folder(folder) as partial:
            policy.build_policy(untrained, seed, rules)
            if is_shipped:
                shipped.unpack(untrained, partial)
            else:
                warm_up(untrained, partial, levels=levels, seed=seed, target_accuracy=target_accuracy, rules=rules)
    return folder


def warm_up(
    folder: str | Path,
    out: str | Path,
    *,
    levels: Sequence[int],
    seed: int = 0,
    target_accuracy: float = 0.5,
    rules: world.Rules = world.DEFAULT_RULES,
    progress: bool = True,
) -> dict[str, float]:
    """Train the policy in `folder`, save it to `out`, and return what was measured (also in `out`/warmup.json).

    The stages train on problems of the warmup split and are measured on problems of the train split:

    1. The vision tower learns to name the content of each cell.
    2. The policy learns to count every object.
    3. It learns to answer as demonstrated, until its accuracy at temperature 1 reaches `target_accuracy`.

    The weights are then rounded to bfloat16, so that a file of half the size holds them exactly. The result holds the
    steps and the final measure of each stage, and the greedy accuracy of the rounded weights. Raises RuntimeError if a
    stage does not reach its target within MAX_STEPS.
    """
    if not 0 < target_accuracy < 1:
        raise ValueError(f"target_accuracy={target_accuracy} must lie between 0 and 1")
    processor = AutoProcessor.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    held_out = world.problems(CHECK_PROBLEMS, "train", levels, seed, rules)
    measured: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for i, stage in enumerate(_stages(model, processor, held_out, seed, target_accuracy)):
            steps, reached = _train(stage, levels, 3 * seed + i, rules, progress)
            measured |= {f"{stage.name}_steps": steps, f"{stage.name}_accuracy": reached}
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16().float()
        measured["greedy_accuracy"] = accuracy(model, processor, held_out, temperature=0)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    write_json(Path(out) / "warmup.json", measured)
    return measured


def accuracy(model: Any, processor: Qwen2_5_VLProcessor, problems: Problems, *, temperature: float) -> float:
    """Share of the problems that the policy answers correctly; temperature 0 decodes greedily."""
    completions = answer_problems(
        model,
        processor,
        [world.row(problem) for problem in problems],
        batch_size=len(problems),
        max_new_tokens=MAX_NEW_TOKENS,
        temperature=temperature,
        seed=0,
    )
    right = [last_answer_tag(text) == problem.solution for text, problem in zip(completions, problems, strict=True)]
    return sum(right) / len(right)


def encode_labelled(
    processor: Qwen2_5_VLProcessor, problems: Problems, completions: Sequence[str]
) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs for prompt, completion and end of turn, and labels (batch, token): response ids, IGNORED elsewhere."""
    rows = [{**world.row(problem), "completion": text} for problem, text in zip(problems, completions, strict=True)]
    inputs, mask = encode_demonstrations(rows, processor, MAX_NEW_TOKENS)
    ids = inputs["input_ids"]
    in_prompt = torch.zeros(len(ids), ids.shape[1] - mask.shape[1], dtype=torch.bool)
    return inputs, ids.masked_fill(~torch.cat([in_prompt, mask], dim=1), IGNORED)


def encode_counts(
    processor: Qwen2_5_VLProcessor, problems: Problems, order: random.Random
) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs and labels that teach counting: every object with its count in random order, "red 3, circles 4, ...".

    Labels (batch, token) are the ids of the seven counts per picture, IGNORED elsewhere. Demonstrations alone have only
    two or three counts among many easier tokens, and after 200 steps the policy had not begun to count.
    """
    inventories = []
    for problem in problems:
        objects = order.sample(world.OBJECTS, len(world.OBJECTS))
        inventories.append("<think> " + ", ".join(f"{o} {world.count_objects(problem.cells, o)}" for o in objects))
    inputs, labels = encode_labelled(processor, problems, inventories)
    is_count = torch.zeros_like(labels, dtype=torch.bool)
    is_count[:, 1 - 3 * len(world.OBJECTS) :: 3] = True  # object, count, comma, ..., object, count, end of turn
    return inputs, labels.masked_fill(~is_count, IGNORED)


def _stages(
    model: Any, processor: Qwen2_5_VLProcessor, held_out: Problems, seed: int, target_accuracy: float
) -> list[Stage]:
    names = nn.Parameter(torch.zeros(len(world.OBJECTS)))  # a bias per object name, used in the first stage only
    order = random.Random(seed)

    def seeing(problems: Problems) -> Tensor:
        logits, present = _named_cells(model, processor, problems)
        return nn.functional.binary_cross_entropy_with_logits(logits + names, present)

    def cell_accuracy() -> float:
        logits, present = _named_cells(model, processor, held_out)
        return ((logits + names > 0) == (present > 0)).all(-1).float().mean().item()

    def counting(problems: Problems) -> Tensor:
        inputs, labels = encode_counts(processor, problems, order)
        return model(**inputs, labels=labels, use_cache=False).loss

    def count_accuracy() -> float:
        inputs, labels = encode_counts(processor, held_out, random.Random(seed))
        predicted = model(**inputs, use_cache=False).logits[:, :-1].argmax(-1)
        counts = labels[:, 1:]
        return (predicted == counts)[counts != IGNORED].float().mean().item()

    def answering(problems: Problems) -> Tensor:
        inputs, labels = encode_labelled(processor, problems, [problem.demonstration for problem in problems])
        return model(**inputs, labels=labels, use_cache=False).loss

    def sampled_accuracy() -> float:
        return accuracy(model, processor, held_out, temperature=1)

    everything = list(model.parameters())
    return [
        Stage("cell", [*model.model.visual.parameters(), names], seeing, cell_accuracy, CELL_TARGET),
        Stage("count", everything, counting, count_accuracy, COUNT_TARGET),
        Stage("sampled", everything, answering, sampled_accuracy, target_accuracy),
    ]


def _named_cells(model: Any, processor: Qwen2_5_VLProcessor, problems: Problems) -> tuple[Tensor, Tensor]:
    """(cell, object) logits and labels of "this cell holds this object", cells row by row over all boards.

    The logits use the language model's own final norm and (frozen) word embeddings on the visual tokens, so that the
    vision tower learns to express what it sees in the words of the questions.
    """
    pixels = processor.image_processor([problem.image for problem in problems], return_tensors="pt")
    features = model.model.get_image_features(pixels["pixel_values"], pixels["image_grid_thw"]).pooler_output
    ids = processor.tokenizer.convert_tokens_to_ids(processor.tokenizer.tokenize(" " + " ".join(world.OBJECTS)))
    words = model.get_input_embeddings().weight[ids].detach()
    present = [
        [float(cell is not None and name in cell) for name in world.OBJECTS] for p in problems for cell in p.cells
    ]
    return model.model.language_model.norm(torch.cat(features)) @ words.T, torch.tensor(present)


def _train(stage: Stage, levels: Sequence[int], seed: int, rules: world.Rules, progress: bool) -> tuple[int, float]:
    """Train with Adam until the measure, taken every CHECK_EVERY steps, reaches the target; (steps, last measure)."""
    optimizer = torch.optim.Adam(stage.parameters, LEARNING_RATE, BETAS)
    ramp = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / RAMP_STEPS, total_iters=RAMP_STEPS)
    reached = 0.0
    with tqdm(desc=f"warm-up: {stage.name} accuracy to {stage.target}", unit="step", disable=not progress) as bar:
        for step in range(1, MAX_STEPS + 1):
            indices = range((step - 1) * BATCH_SIZE, step * BATCH_SIZE)
            loss = stage.loss([world.draw_problem(i, "warmup", levels[i % len(levels)], seed, rules) for i in indices])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(stage.parameters, 1.0)
            optimizer.step()
            ramp.step()
            if step % CHECK_EVERY == 0:
                with torch.no_grad():
                    reached = stage.measure()
            bar.set_postfix(loss=f"{loss.item():.3f}", accuracy=f"{reached:.3f}", refresh=False)
            bar.update()
            if reached >= stage.target:
                return step, reached
    raise RuntimeError(
        f"warm-up: {stage.name} accuracy is {reached:.3f} after {MAX_STEPS} steps and did not reach {stage.target}; "
        "use fewer levels or a lower target_accuracy"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as untrained, tempfile.TemporaryDirectory() as warm:
        policy.build_policy(untrained, QUICKSTART_SETTINGS["seed"])
        print(warm_up(untrained, warm, **QUICKSTART_SETTINGS))
        shipped.pack(warm, QUICKSTART_SETTINGS)


if __name__ == "__main__":
    main()
