"""Latents: hidden states of the response tokens at a few depths of the policy, recorded during a forward pass.

A sequence is a left-padded prompt followed by a right-padded response of T tokens. Its positions are counted from the
last prompt token: position 0 is that token, position 1 + k is response token k. Only these are kept, and no padding.
The public code scores every position of prompt, image and padding, twice.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from rlfr_mm.method.shapes import TokenMask


class _DeepestLayerReached(Exception):
    """Ends a forward pass whose remaining layers are not needed."""


@dataclass(frozen=True)
class Latents:
    """Latents of a few rollouts, packed: sample by sample, the last prompt token and then the response tokens.

    The mask (batch, token) says which tokens have rows. A rollout without response tokens, or one that was dropped with
    `keep`, has none, and still counts in the batch.

    >>> latents = Latents.pack(torch.randn(2, 3, 5, 8), torch.tensor([[True] * 4, [True, True, False, False]]))
    >>> latents.values.shape  # 1 + 4 and 1 + 2 positions
    torch.Size([8, 3, 8])
    """

    values: Float[Tensor, "row layer hidden"]  # in the dtype of the policy's hidden states
    mask: TokenMask

    def __post_init__(self) -> None:
        if (rows := int(real_positions(self.mask).sum())) != len(self.values):
            raise ValueError(f"{len(self.values)} rows of latents for a mask with {rows} positions")

    @classmethod
    def pack(cls, padded: Float[Tensor, "batch layer position hidden"], mask: TokenMask) -> "Latents":
        """Latents from a tensor with all positions; values at padding do not matter."""
        if padded.shape[2] != mask.shape[1] + 1:
            raise ValueError(
                f"{padded.shape[2]} positions for {mask.shape[1]} response tokens: wanted {mask.shape[1] + 1}, the "
                "last prompt token and the response tokens"
            )
        return cls(padded.transpose(1, 2)[real_positions(mask)], mask)

    @cached_property
    def rows(self) -> Int[Tensor, "batch position"]:
        """The row of each real position; meaningless elsewhere."""
        real = real_positions(self.mask)
        return (real.flatten().cumsum(0) - 1).view_as(real)

    def keep(self, mask: TokenMask) -> "Latents":
        """The latents of those of these tokens that `mask` marks, in new memory unless that is all of them."""
        kept = self.mask & mask
        if torch.equal(kept, self.mask):
            return self
        return Latents(self.values[self.rows[real_positions(kept)]], kept)

    def to(self, device: torch.device | str) -> "Latents":
        return Latents(self.values.to(device), self.mask.to(device))


def real_positions(mask: TokenMask) -> Bool[Tensor, "batch position"]:
    """The positions that latents are kept of: the response tokens, and the last prompt token if there is any."""
    return torch.cat([mask.any(1, keepdim=True), mask], dim=1)


@dataclass
class LatentRecorder:
    """What the hooks of `record_latents` recorded: the latents of each forward pass."""

    mask: TokenMask  # of the rollouts of all passes
    num_layers: int
    store_on: torch.device | None
    passes: list[Latents] = field(default_factory=list)
    _layers: dict[int, Tensor] = field(default_factory=dict)  # of the pass that is running

    def record(self, number: int, hidden: Tensor) -> None:
        """Take over the output of the flow layer `number` (batch, sequence, hidden)."""
        first = sum(len(latents.mask) for latents in self.passes)
        mask = self.mask[first : first + len(hidden)]
        real = real_positions(mask)
        hidden = hidden[:, -real.shape[1] :]
        self._layers[number] = hidden.detach()[real]
        if len(self._layers) == self.num_layers:
            values = torch.stack([self._layers.pop(i) for i in range(self.num_layers)], dim=1)
            latents = Latents(values, mask)
            self.passes.append(latents if self.store_on is None else latents.to(self.store_on))


def decoder_layers(model: Any) -> nn.ModuleList:
    """The decoder layers of a text, vision-language or PEFT policy; TypeError for other models."""
    layers = getattr(model.get_decoder(), "layers", None) if hasattr(model, "get_decoder") else None
    if not isinstance(layers, nn.ModuleList):
        raise TypeError(f"{type(model).__name__} has no get_decoder().layers; RLFR needs a decoder-only policy")
    return layers


@contextmanager
def record_latents(
    model: nn.Module,
    layer_indices: Sequence[int],
    mask: TokenMask,
    store_on: torch.device | None = None,
) -> Iterator[LatentRecorder]:
    """Record the outputs of the decoder layers `layer_indices` at the response tokens that `mask` (N, T) marks.

    The last T positions of a pass are the response. Several passes take their rows of the mask one after the other, and
    each adds its `Latents` to `recorder.passes`. The output of layer i is transformers' `hidden_states[i + 1]`. The
    hooks only record and are removed on exit. `store_on` moves each pass to a device.

    >>> with record_latents(model, [9, 18, 27], mask) as recorder:
    ...     model(**inputs)
    >>> (latents,) = recorder.passes
    """
    layers = decoder_layers(model)
    recorder = LatentRecorder(mask, len(layer_indices), store_on)

    def hook_for(number: int):
        def hook(module: nn.Module, inputs: tuple, output: Tensor | tuple) -> None:
            recorder.record(number, output[0] if isinstance(output, tuple) else output)  # tuple: transformers < 5

        return hook

    handles = [layers[i].register_forward_hook(hook_for(number)) for number, i in enumerate(layer_indices)]
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
