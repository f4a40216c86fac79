"""The squared velocity error of the field: the loss that trains it, and the deviation that rewards the policy.

Latents are (batch, layer, position, hidden), where position 0 is the last prompt token and position 1 + k is response
token k. The context of token k under shift s is position 1 + k + s.

- Randomness is keyed by sample: each sample draws times and noise for its response tokens from its own generator,
  seeded with its entry of `seeds`. Padding, the other samples and the number of processes do not change its draws. They
  are made in float32 on the latents' device; a CPU and a GPU draw different numbers.
- Only response tokens are computed. They are packed over samples into forward passes of at most `TOKENS_PER_FORWARD`
  rows. Memory is bounded by one such pass plus the draws of one sample.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rlfr_mm.config import FlowRewardConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.path import likelihood_weight, linear_path, sample_times
from rlfr_mm.method.shapes import Latents, PerPoint, Points, TokenMask, Tokens

TOKENS_PER_FORWARD = 4096  # rows per forward pass; about 5 GB with gradients at width 3584 and 6 blocks


@dataclass(frozen=True)
class LossSum:
    """A weighted sum of squared velocity errors and the sum of its weights, which add up over parts of a batch."""

    loss: Float[Tensor, ""]
    weight: Float[Tensor, ""]


@dataclass(frozen=True)
class _Queries:
    """Inputs of the field, its target velocities dx_t, and the sample and token that each row belongs to."""

    x_t: Points
    dx_t: Points
    t: PerPoint
    context: Points
    layer: PerPoint
    sample: Int[Tensor, "n"]
    token: Int[Tensor, "n"]

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, rows: slice | Tensor) -> "_Queries":
        return _Queries(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def cat(cls, parts: "list[_Queries]") -> "_Queries":
        return cls(*(torch.cat([getattr(part, column.name) for part in parts]) for column in fields(cls)))


def has_context(mask: TokenMask, shift: int) -> TokenMask:
    """The response tokens whose context under `shift` is a response token or the last prompt token."""
    real = torch.nn.functional.pad(mask, (1, 0), value=True)  # by position
    first = 1 + shift
    context_is_real = real[:, first : first + mask.shape[1]]
    return mask & torch.nn.functional.pad(context_is_real, (0, mask.shape[1] - context_is_real.shape[1]), value=False)


def scored_tokens(mask: TokenMask, shifts: list[int]) -> TokenMask:
    """The tokens that `velocity_deviation` scores: those with a context under at least one of the shifts."""
    return torch.stack([has_context(mask, shift) for shift in shifts]).any(0)


def flow_matching_chunks(
    field: FlowField, latents: Latents, mask: TokenMask, weights: Tokens, seeds: list[int]
) -> Iterator[LossSum]:
    """Yield the flow-matching loss in chunks to add up, each with its own graph.

    The loss is the weighted sum over (token, layer, context, draw) of the squared velocity error, averaged over
    channels. Times are logit-normal; every latent is drawn `field.config.batch_multiplier` times with fresh time and
    noise, which do not depend on `weights`. Tokens with weight 0 cost nothing. Latents are detached.

    Call `chunk.loss.backward()` on each chunk: the gradients accumulate in `.grad`, and only one chunk is in memory.
    Then divide them by the sum of the weights over all chunks and processes.
    """
    draws: list[float | None] = [None] * field.config.batch_multiplier
    for queries in _queries(field, latents.detach(), mask, weights != 0, seeds, field.config.context_shifts, draws):
        weight = weights[queries.sample, queries.token].to(field.dtype)
        yield LossSum((weight * _squared_error(field, queries)).sum(), weight.sum())


def velocity_deviation(
    field: FlowField,
    latents: Latents,
    mask: TokenMask,
    config: FlowRewardConfig,
    seeds: list[int],
    keep_graph: bool = False,
) -> Tokens:
    """The squared velocity error of each token, averaged over channels, flow layers, contexts and times.

    `config.debias` weights the error at time t by t / (1 - t). The computation is in the field's float32, whatever the
    dtype of the latents. A token is averaged over the contexts that it has; without one, and at padding, the result
    is 0 (`scored_tokens` tells such zeros apart). With `keep_graph`, gradients flow to the field's parameters and to
    the latents, both as targets and as contexts.
    """
    shifts = config.context_shifts or field.config.context_shifts
    scored = scored_tokens(mask, shifts)
    with torch.set_grad_enabled(keep_graph):
        total = torch.zeros(mask.shape, dtype=field.dtype, device=latents.device)
        for queries in _queries(field, latents, mask, scored, seeds, shifts, list(config.times)):
            error = _squared_error(field, queries)
            if config.debias:
                error = error * likelihood_weight(queries.t)
            total.index_put_((queries.sample, queries.token), error, accumulate=True)
        contexts = torch.stack([has_context(mask, shift) for shift in shifts]).sum(0)
        return total / (contexts.clamp(min=1) * len(field.layer_indices) * len(config.times))


def latent_regression_loss(
    field: FlowField, latents: Latents, mask: TokenMask, config: FlowRewardConfig, seeds: list[int]
) -> Float[Tensor, ""]:
    """The mean `velocity_deviation` of the scored tokens, with its graph."""
    deviation = velocity_deviation(field, latents, mask, config, seeds, keep_graph=True)
    scored = scored_tokens(mask, config.context_shifts or field.config.context_shifts)
    return deviation.sum() / scored.sum().clamp(min=1)


def _squared_error(field: FlowField, queries: _Queries) -> PerPoint:
    """Mean over channels of (v - dx_t)^2, in full precision even inside a caller's autocast."""
    with torch.autocast(queries.t.device.type, enabled=False):
        velocity = field(queries.x_t, queries.t, queries.context, queries.layer)
        return (velocity - queries.dx_t).square().mean(-1)


def _queries(
    field: FlowField,
    latents: Latents,
    mask: TokenMask,
    wanted: TokenMask,
    seeds: list[int],
    shifts: list[int],
    times: list[float | None],
) -> Iterator[_Queries]:
    """The queries of the wanted tokens, packed. Each entry of `times` is one draw; None stands for a random time."""
    if len(seeds) != len(mask):
        raise ValueError(f"{len(seeds)} seeds for {len(mask)} samples: pass one seed per sample")
    if latents.shape[1] != len(field.layer_indices) or latents.shape[2] != mask.shape[1] + 1:
        raise ValueError(
            f"latents of shape {tuple(latents.shape)} do not fit: wanted {len(field.layer_indices)} layers and "
            f"{mask.shape[1] + 1} positions (the last prompt token, then {mask.shape[1]} response tokens)"
        )
    depths = torch.tensor(field.layer_depths, dtype=field.dtype, device=latents.device)

    def draws(sample: int) -> Iterator[_Queries]:
        """One (context, draw) at a time, in an order that determines the sample's random numbers."""
        generator = torch.Generator(latents.device).manual_seed(seeds[sample])
        for shift in shifts:
            tokens = has_context(mask[sample : sample + 1], shift)[0].nonzero()[:, 0]
            target = field.standardised(latents[sample, :, 1 + tokens].to(field.dtype)).flatten(0, 1)
            context = field.standardised(latents[sample, :, 1 + tokens + shift].to(field.dtype)).flatten(0, 1)
            token, layer = tokens.repeat(len(depths)), depths.repeat_interleave(len(tokens))
            kept = wanted[sample, token]  # applied after the draws, which must not depend on it
            for time in times:
                if time is None:
                    t = sample_times(len(token), generator, field.config.time_mean, field.config.time_std)
                else:
                    t = torch.full(token.shape, time, dtype=field.dtype, device=latents.device)
                t = t.to(field.dtype)
                noise = torch.randn(target.shape, generator=generator, device=latents.device).to(field.dtype)
                point, owner = linear_path(noise, target, t), torch.full_like(token, sample)
                yield _Queries(point.x_t, point.dx_t, t, context, layer, owner, token)[kept]

    needed = wanted.any(1).nonzero()[:, 0].tolist()
    return _repacked(itertools.chain.from_iterable(map(draws, needed)), TOKENS_PER_FORWARD)


def _repacked(parts: Iterable[_Queries], size: int) -> Iterator[_Queries]:
    """The same rows in the same order, `size` at a time; the last part may be smaller."""
    held: list[_Queries] = []
    room = size
    for part in parts:
        while len(part) > room:
            yield _Queries.cat([*held, part[:room]])
            part, held, room = part[room:], [], size
        held.append(part)
        room -= len(part)
    if room < size:
        yield _Queries.cat(held)
