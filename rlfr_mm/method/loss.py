"""What the field is trained on and what the policy is rewarded by: the squared error of its velocity.

Latents are `(batch, layer, position, hidden)` with position = 1 + token: position 0 is the last prompt token, position
1 + k is response token k. The context of token k under shift s is position 1 + k + s.

Randomness is keyed by sample: each sample draws its times and noise from its own generator, seeded with its entry of
`seeds`, for its real tokens only. So neither padding, nor the other samples of the batch, nor the process that holds a
sample changes its draws. They are made on the latents' device in float32, and a CPU and a GPU draw different numbers.

Only real tokens are computed, packed over samples into forwards of at most `TOKENS_PER_FORWARD` token-latents. Memory
is bounded by one such forward plus the draws of one sample.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlfr_mm.config import FlowRewardConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.path import likelihood_weight, linear_path, sample_times

TOKENS_PER_FORWARD = 4096  # rows of one forward of the field; about 5 GB with gradients at width 3584 and 6 blocks


@dataclass(frozen=True)
class LossSum:
    """A weighted sum of squared velocity errors and its total weight; loss / weight is the mean, over any split."""

    loss: Float[Tensor, ""]
    weight: Float[Tensor, ""]


@dataclass(frozen=True)
class _Queries:
    """Rows for the field: where it is asked, what it should answer, and which token the answer belongs to."""

    x_t: Float[Tensor, "n hidden"]
    dx_t: Float[Tensor, "n hidden"]
    t: Float[Tensor, "n"]
    context: Float[Tensor, "n hidden"]
    layer: Float[Tensor, "n"]
    sample: Int[Tensor, "n"]
    token: Int[Tensor, "n"]

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, rows: slice | Tensor) -> "_Queries":
        return _Queries(*(getattr(self, column.name)[rows] for column in fields(self)))

    @classmethod
    def cat(cls, parts: "list[_Queries]") -> "_Queries":
        return cls(*(torch.cat([getattr(part, column.name) for part in parts]) for column in fields(cls)))


def has_context(mask: Bool[Tensor, "batch token"], shift: int) -> Bool[Tensor, "batch token"]:
    """The real tokens whose context under `shift` is a real token, or the last prompt token."""
    real = torch.nn.functional.pad(mask, (1, 0), value=True)  # by position
    first = 1 + shift
    context_is_real = real[:, first : first + mask.shape[1]]
    return mask & torch.nn.functional.pad(context_is_real, (0, mask.shape[1] - context_is_real.shape[1]), value=False)


def scored_tokens(mask: Bool[Tensor, "batch token"], shifts: list[int]) -> Bool[Tensor, "batch token"]:
    """The tokens that `velocity_deviation` scores: those with a context under at least one of `shifts`."""
    return torch.stack([has_context(mask, shift) for shift in shifts]).any(0)


def flow_matching_chunks(
    field: FlowField,
    latents: Float[Tensor, "batch layer position hidden"],
    mask: Bool[Tensor, "batch token"],
    weights: Float[Tensor, "batch token"],
    seeds: list[int],
) -> Iterator[LossSum]:
    """The flow-matching loss in chunks that add up to `flow_matching_loss`, each with its own graph.

    Call `chunk.loss.backward()` on each: gradients of the sum accumulate in `.grad` while memory stays that of one
    chunk. Divide the gradients by the sum of the `weight`s, over all chunks and processes, before the step.
    Draws do not depend on `weights`, and tokens of weight 0 cost nothing.
    """
    draws: list[float | None] = [None] * field.config.batch_multiplier
    for queries in _queries(field, latents.detach(), mask, weights != 0, seeds, field.config.context_shifts, draws):
        weight = weights[queries.sample, queries.token].to(field.dtype)
        yield LossSum((weight * _squared_error(field, queries)).sum(), weight.sum())


def flow_matching_loss(
    field: FlowField,
    latents: Float[Tensor, "batch layer position hidden"],
    mask: Bool[Tensor, "batch token"],
    weights: Float[Tensor, "batch token"],
    seeds: list[int],
) -> LossSum:
    """The weighted sum over (token, layer, context, draw) of the channel-mean squared velocity error.

    Times are logit-normal, and each latent is drawn `field.config.batch_multiplier` times with fresh time and noise.
    Only the field gets gradients: latents are detached. One graph for everything; `flow_matching_chunks` bounds memory.
    """
    total = LossSum(latents.new_zeros((), dtype=field.dtype), latents.new_zeros((), dtype=field.dtype))
    for chunk in flow_matching_chunks(field, latents, mask, weights, seeds):
        total = LossSum(total.loss + chunk.loss, total.weight + chunk.weight)
    return total


def velocity_deviation(
    field: FlowField,
    latents: Float[Tensor, "batch layer position hidden"],
    mask: Bool[Tensor, "batch token"],
    config: FlowRewardConfig,
    seeds: list[int],
    keep_graph: bool = False,
) -> Float[Tensor, "batch token"]:
    """The channel-mean squared velocity error of each token, averaged over flow layers, contexts and times.

    With `config.debias` the error at time t is weighted by t / (1 - t). Computed in the field's float32, whatever the
    latents' dtype. A token is averaged over the contexts it has; it is 0 where it has none, and at padding
    (`scored_tokens` tells these zeros from scores). With `keep_graph` it can be differentiated in the field's
    parameters and in the latents, targets and contexts alike.
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
    field: FlowField,
    latents: Float[Tensor, "batch layer position hidden"],
    mask: Bool[Tensor, "batch token"],
    config: FlowRewardConfig,
    seeds: list[int],
) -> Float[Tensor, ""]:
    """The mean `velocity_deviation` of the scored tokens, differentiable."""
    deviation = velocity_deviation(field, latents, mask, config, seeds, keep_graph=True)
    scored = scored_tokens(mask, config.context_shifts or field.config.context_shifts)
    return deviation.sum() / scored.sum().clamp(min=1)


def _squared_error(field: FlowField, queries: _Queries) -> Float[Tensor, "n"]:
    """Mean over channels of (v - dx_t)^2, in full precision also inside a caller's autocast."""
    with torch.autocast(queries.t.device.type, enabled=False):
        velocity = field(queries.x_t, queries.t, queries.context, queries.layer)
        return (velocity - queries.dx_t).square().mean(-1)


def _queries(
    field: FlowField,
    latents: Float[Tensor, "batch layer position hidden"],
    mask: Bool[Tensor, "batch token"],
    wanted: Bool[Tensor, "batch token"],
    seeds: list[int],
    shifts: list[int],
    times: list[float | None],
) -> Iterator[_Queries]:
    """The wanted tokens' queries, packed; each entry of `times` is one draw, at that time or (None) a random one."""
    if len(seeds) != len(mask):
        raise ValueError(f"{len(seeds)} seeds for {len(mask)} samples: give one seed per sample")
    if latents.shape[1] != len(field.layer_indices) or latents.shape[2] != mask.shape[1] + 1:
        raise ValueError(
            f"latents of shape {tuple(latents.shape)} do not fit: wanted {len(field.layer_indices)} layers and "
            f"{mask.shape[1] + 1} positions (the last prompt token, then {mask.shape[1]} response tokens)"
        )
    per_sample = (
        queries
        for sample, needed in enumerate(wanted.any(1).tolist())
        if needed
        for queries in _sample_queries(field, latents, mask, wanted, sample, seeds[sample], shifts, times)
    )
    return _repacked(per_sample, TOKENS_PER_FORWARD)


def _sample_queries(
    field: FlowField,
    latents: Float[Tensor, "batch layer position hidden"],
    mask: Bool[Tensor, "batch token"],
    wanted: Bool[Tensor, "batch token"],
    sample: int,
    seed: int,
    shifts: list[int],
    times: list[float | None],
) -> Iterator[_Queries]:
    """One sample's queries, one (context, draw) at a time, in an order that fixes its random numbers."""
    generator = torch.Generator(latents.device).manual_seed(seed)
    num_layers = latents.shape[1]
    depths = torch.tensor(field.layer_depths, dtype=field.dtype, device=latents.device)
    for shift in shifts:
        tokens = has_context(mask[sample : sample + 1], shift)[0].nonzero()[:, 0]
        target = field.standardised(latents[sample, :, 1 + tokens].to(field.dtype)).flatten(0, 1)
        context = field.standardised(latents[sample, :, 1 + tokens + shift].to(field.dtype)).flatten(0, 1)
        token = tokens.repeat(num_layers)
        kept = wanted[sample, token]  # applied after the draws, which so do not depend on it
        for time in times:
            if time is None:
                t = sample_times(len(token), generator, field.config.time_mean, field.config.time_std).to(field.dtype)
            else:
                t = torch.full(token.shape, time, dtype=field.dtype, device=latents.device)
            noise = torch.randn(target.shape, generator=generator, device=latents.device).to(field.dtype)
            point = linear_path(noise, target, t)
            yield _Queries(
                x_t=point.x_t,
                dx_t=point.dx_t,
                t=t,
                context=context,
                layer=depths.repeat_interleave(len(tokens)),
                sample=torch.full_like(token, sample),
                token=token,
            )[kept]


def _repacked(parts: Iterable[_Queries], size: int) -> Iterator[_Queries]:
    """The same rows in the same order, `size` at a time; the last group may be smaller."""
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
