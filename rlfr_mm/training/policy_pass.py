"""Passes of the policy: their inputs, and one that TRL does not have, over the expert solutions."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

_TYPES = ("token_type_ids", "mm_token_type_ids")  # of each token: 0 for text
_OTHERS = (
    "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes", "num_tiles",
    "image_sizes", "image_position_ids",
)  # fmt: skip


def forward_inputs(output: dict[str, Any]) -> dict[str, Any]:
    """What TRL's generation returned for a pass of the policy besides token ids and masks."""
    return {key: output[key] for key in (*_OTHERS, *_TYPES) if key in output}


def expert_logps(trainer: Any, output: dict[str, Any], experts: list[list[int]]) -> Tensor:
    """(B, L) log-probabilities of each rollout's expert solution (token ids, end of turn included); 0 at padding.

    `output` is what TRL's generation returned: a solution has the prompt and the images of the rollout.
    """
    rows = [torch.tensor(ids) for ids in experts]
    ids = pad_sequence(rows, batch_first=True).to(output["prompt_ids"])
    mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(output["prompt_mask"])
    length, prompt, inputs = ids.shape[1], output["prompt_ids"].shape[1], forward_inputs(output)
    inputs |= {key: pad(inputs[key][:, :prompt], (0, length)) for key in _TYPES if key in inputs}
    with torch.no_grad():
        logps, *_ = trainer._get_per_token_logps_and_entropies(
            trainer.model,
            torch.cat([output["prompt_ids"], ids], dim=1),
            torch.cat([output["prompt_mask"], mask], dim=1),
            length,
            trainer.args.per_device_train_batch_size,
            **inputs,
        )
    return logps.masked_fill(mask == 0, 0)


def without_empty_images(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Leave out the images of a pass whose prompts have none, where others of the batch do: Qwen2.5-VL refuses zero."""
    pixels = kwargs.get("pixel_values")
    if pixels is None or len(pixels):
        return args, kwargs
    return args, {key: value for key, value in kwargs.items() if key not in ("pixel_values", "image_grid_thw")}
