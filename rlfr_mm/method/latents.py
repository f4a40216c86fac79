"""Latents: hidden states of the response tokens at a few depths of the policy, recorded during a forward pass.

A sequence is a left-padded prompt followed by a right-padded response of T tokens. Latents have the shape
(batch, layer, position, hidden) everywhere in this project, with position = 1 + token: position 0 is the last prompt
token, position 1 + k is response token k. The public code scores every position of prompt, image and padding, twice.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class _DeepestLayerReached(Exception):
    """Ends a forward pass whose remaining layers are not needed."""


@dataclass
class LatentRecorder:
    """What the hooks of `record_latents` recorded: per layer, a list with one entry per forward pass."""

    num_layers: int
    chunks: list[list[Tensor]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chunks = [[] for _ in range(self.num_layers)]

    @property
    def latents(self) -> Float[Tensor, "batch layer position hidden"]:
        """All recorded passes, concatenated along the batch."""
        return torch.stack([torch.cat(layer) for layer in self.chunks], dim=1)


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder layers of a text, vision-language or PEFT policy; TypeError for other models."""
    layers = getattr(model.get_decoder(), "layers", None) if hasattr(model, "get_decoder") else None
    if not isinstance(layers, nn.ModuleList):
        raise TypeError(f"{type(model).__name__} has no get_decoder().layers; RLFR needs a decoder-only policy")
    return layers


@contextmanager
def record_latents(
    model: nn.Module, layer_indices: Sequence[int], num_positions: int, keep_graph: bool = False
) -> Iterator[LatentRecorder]:
    """Record the outputs of the decoder layers `layer_indices` at the last `num_positions` positions of each pass.

    The output of layer i is transformers' `hidden_states[i + 1]`. The hooks only record and are removed on exit.
    `keep_graph` lets gradients flow through the recorded latents; it does not work with gradient checkpointing, which
    runs every layer twice.

    >>> with record_latents(model, [9, 18, 27], num_positions=1 + 512) as recorder:
    ...     model(**inputs)
    >>> recorder.latents  # (batch, 3, 513, hidden)
    """
    layers = decoder_layers(model)
    recorder = LatentRecorder(len(layer_indices))

    def hook_into(chunk: list[Tensor]):
        def hook(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            hidden = output[0] if isinstance(output, tuple) else output  # a tuple before transformers 5
            recorded = hidden[:, -num_positions:]
            chunk.append(
                recorded if keep_graph else recorded.detach().clone()
            )  # a view would keep the whole sequence alive

        return hook

    handles = [
        layers[i].register_forward_hook(hook_into(chunk))
        for i, chunk in zip(layer_indices, recorder.chunks, strict=True)
    ]
    try:
        yield recorder
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def stop_after_layer(model: nn.Module, layer_index: int) -> Iterator[None]:
    """Leave the `with` body as soon as a forward pass in it has run decoder layer `layer_index`.

    Later layers and the lm_head do not run; what was recorded is bit-identical to a full pass. Enter `record_latents`
    first, because its hook on the same layer must run before this one. Do not use it on sharded models, which rely on
    hooks that would not run.
    """

    def stop(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
        raise _DeepestLayerReached

    handle = decoder_layers(model)[layer_index].register_forward_hook(stop)
    try:
        yield
    except _DeepestLayerReached:
        pass
    finally:
        handle.remove()
