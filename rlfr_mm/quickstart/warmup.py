"""The warm start of the tiny policy: it learns to see, to count, and then to answer half of the questions."""

import hashlib
import json
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLProcessor

from rlfr_mm.grading.strict.extract import last_answer_tag
from rlfr_mm.policy import answer_problems, encode_demonstrations
from rlfr_mm.quickstart import policy, world

BATCH_SIZE = 64
LEARNING_RATE = 1.5e-3
RAMP_STEPS = 20  # linear learning-rate ramp
BETAS = (0.9, 0.98)  # the large gradients of the first steps are forgotten within 50
CELL_TARGET = 0.99  # share of cells named correctly: end of the first stage
COUNT_TARGET = 0.7  # share of counts named correctly: end of the second stage
MAX_STEPS = 1000  # of one stage
CHECK_EVERY = 20  # steps between two measurements
CHECK_PROBLEMS = 256  # standard error 0.03 at an accuracy of one half
MAX_NEW_TOKENS = 64

Problems = Sequence[world.Problem]
IGNORED = -100  # label of tokens without loss


def prepare_policy(cache_dir: str | Path, *, levels: Sequence[int], seed: int, target_accuracy: float = 0.5) -> Path:
    """The folder of a warmed-up policy, made once for these settings and the source that defines them.

    `warmup.json` in the folder holds what the warm-up measured. The folder appears by a rename when it is complete;
    of two processes that make it at once, the later one takes the earlier one's.
    """
    settings = {"levels": list(levels), "seed": seed, "target_accuracy": target_accuracy}
    digest = hashlib.sha256(json.dumps(settings).encode())
    for source in (world.__file__, policy.__file__, __file__):
        digest.update(Path(str(source)).read_bytes())
    folder = Path(cache_dir) / f"policy-{digest.hexdigest()[:16]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".policy-", dir=folder.parent))
    try:
        untrained = policy.build_policy(scratch / "untrained", seed)
        warm_up(untrained, scratch / "warm", levels=levels, seed=seed, target_accuracy=target_accuracy)
        try:
            os.rename(scratch / "warm", folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(scratch)
    return folder


def warm_up(
    folder: str | Path,
    out: str | Path,
    *,
    levels: Sequence[int],
    seed: int = 0,
    target_accuracy: float = 0.5,
    progress: bool = True,
) -> dict[str, float]:
    """Train the policy in `folder` until it answers a share of the problems when sampled; save it to `out`.

    Three stages on the warmup split: the vision tower learns to name the content of each cell, the policy to count
    every object, then to answer as demonstrated, until the accuracy at temperature 1 on problems of the train split
    reaches `target_accuracy`. Returns the steps and final measure of each stage and the greedy accuracy; they are also
    written to `warmup.json`.

    Raises RuntimeError when a stage does not reach its target within MAX_STEPS.
    """
    if not 0 < target_accuracy < 1:
        raise ValueError(f"target_accuracy={target_accuracy} must lie between 0 and 1")
    processor = AutoProcessor.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    held_out = world.problems(CHECK_PROBLEMS, "train", levels, seed)
    names = nn.Parameter(torch.zeros(len(world.OBJECTS)))  # biases of the names of objects, used in the first stage
    order = random.Random(seed)
    vision = [*model.model.visual.parameters(), names]
    everything = list(model.parameters())

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

    stages = (
        ("cell", vision, seeing, cell_accuracy, CELL_TARGET),
        ("count", everything, counting, count_accuracy, COUNT_TARGET),
        ("sampled", everything, answering, sampled_accuracy, target_accuracy),
    )
    measured: dict[str, float] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for i, (name, parameters, loss, measure, target) in enumerate(stages):
            steps, reached = _train(name, parameters, loss, measure, target, levels, 3 * seed + i, progress)
            measured |= {f"{name}_steps": steps, f"{name}_accuracy": reached}
        measured["greedy_accuracy"] = accuracy(model, processor, held_out, temperature=0)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    (Path(out) / "warmup.json").write_text(json.dumps(measured, indent=2) + "\n")
    return measured


def accuracy(model: Any, processor: Qwen2_5_VLProcessor, problems: Problems, *, temperature: float) -> float:
    """Share of the problems whose response gives the right answer; temperature 0 answers greedily."""
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
    """Inputs for prompt, completion and end of turn; labels (batch, token): the response's ids, IGNORED elsewhere."""
    rows = [{**world.row(problem), "completion": text} for problem, text in zip(problems, completions, strict=True)]
    inputs, mask = encode_demonstrations(rows, processor, MAX_NEW_TOKENS)
    ids = inputs["input_ids"]
    in_prompt = torch.zeros(len(ids), ids.shape[1] - mask.shape[1], dtype=torch.bool)
    return inputs, ids.masked_fill(~torch.cat([in_prompt, mask], dim=1), IGNORED)


def encode_counts(
    processor: Qwen2_5_VLProcessor, problems: Problems, order: random.Random
) -> tuple[dict[str, Tensor], Tensor]:
    """Prompts with the count of every object in random order, "red 3, circles 4, ...": seven counts a picture.

    Labels (batch, token): the ids of the counts, IGNORED elsewhere. From demonstrations alone, with two or three
    counts among many easier tokens, counting had not begun after 200 steps; this way it begins at once.
    """
    inventories = []
    for problem in problems:
        objects = order.sample(world.OBJECTS, len(world.OBJECTS))
        inventories.append("<think> " + ", ".join(f"{o} {world.count_objects(problem.cells, o)}" for o in objects))
    inputs, labels = encode_labelled(processor, problems, inventories)
    is_count = torch.zeros_like(labels, dtype=torch.bool)
    is_count[:, 1 - 3 * len(world.OBJECTS) :: 3] = True  # object, count, comma, ..., object, count, end of turn
    return inputs, labels.masked_fill(~is_count, IGNORED)


def _named_cells(model: Any, processor: Qwen2_5_VLProcessor, problems: Problems) -> tuple[Tensor, Tensor]:
    """Logits and truth (cell, object) of "this cell holds this object", both row by row over the boards.

    The logits are read from the visual tokens with the language model's own norm and (frozen) word embeddings, so what
    the tower sees is written in the words of the question.
    """
    pixels = processor.image_processor([problem.image for problem in problems], return_tensors="pt")
    features = model.model.get_image_features(pixels["pixel_values"], pixels["image_grid_thw"]).pooler_output
    ids = processor.tokenizer.convert_tokens_to_ids(processor.tokenizer.tokenize(" " + " ".join(world.OBJECTS)))
    words = model.get_input_embeddings().weight[ids].detach()
    present = [
        [float(cell is not None and name in cell) for name in world.OBJECTS] for p in problems for cell in p.cells
    ]
    return model.model.language_model.norm(torch.cat(features)) @ words.T, torch.tensor(present)


def _train(
    name: str,
    parameters: list[nn.Parameter],
    loss_of: Callable[[Problems], Tensor],
    measure: Callable[[], float],
    target: float,
    levels: Sequence[int],
    seed: int,
    progress: bool,
) -> tuple[int, float]:
    """Steps of Adam until the measure, taken every CHECK_EVERY steps, reaches the target: (steps, measured)."""
    optimizer = torch.optim.Adam(parameters, LEARNING_RATE, BETAS)
    ramp = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / RAMP_STEPS, total_iters=RAMP_STEPS)
    reached = 0.0
    with tqdm(desc=f"warm-up: {name} accuracy to {target}", unit="step", disable=not progress) as bar:
        for step in range(1, MAX_STEPS + 1):
            start = (step - 1) * BATCH_SIZE
            batch = [
                world.draw_problem(i, "warmup", levels[i % len(levels)], seed) for i in range(start, start + BATCH_SIZE)
            ]
            loss = loss_of(batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            ramp.step()
            if step % CHECK_EVERY == 0:
                with torch.no_grad():
                    reached = measure()
            bar.set_postfix(loss=f"{loss.item():.3f}", accuracy=f"{reached:.3f}", refresh=False)
            bar.update()
            if reached >= target:
                return step, reached
    raise RuntimeError(
        f"warm-up: {name} accuracy {reached:.3f} after {MAX_STEPS} steps, not {target}; "
        "ask for fewer levels or a lower target_accuracy"
    )
