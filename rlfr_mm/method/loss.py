"""The squared velocity error of the field: the loss that trains it, and the deviation that rewards the policy.

The context of response token k under shift s is position 1 + k + s, where position 0 is the last prompt token.

- Times and noise are functions of the sample's seed, the token, context, layer and draw (`rlfr_mm.method.noise`).
  Padding, the other samples, the number of processes and the device do not change them. Samples with the same seed have
  the same noise at the same position. Scoring and training share no random numbers.
- Only response tokens are computed, packed over samples, in forward passes of at most `TOKENS_PER_FORWARD` rows. Each
  pass has one layer and, for the deviation, one time, so that these are embedded once per pass.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rlfr_mm.config import FlowRewardConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.noise import folded, normals
from rlfr_mm.method.path import likelihood_weight, linear_path, sample_times
from rlfr_mm.method.shapes import PerPoint, PerPointOrOne, Points, Seeds, TokenMask, Tokens

TOKENS_PER_FORWARD = 4096  # rows per forward pass; about 5 GB with gradients at width 3584 and 6 blocks, in float32
_SCORING, _TRAINING, _CHECKING = 0, 1, 2  # kinds of draws, which share no random numbers


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
    t: PerPointOrOne
    context: Points
    layer: PerPointOrOne
    sample: Int[Tensor, "n"]
    token: Int[Tensor, "n"]
    draw: Int[Tensor, "n"]


@dataclass(frozen=True)
class _Draws:
    """Draws of one kind, at a fixed time, or each at a random one (None); `paired` ones are e, -e, e', -e', ..."""

    kind: int
    numbers: range
    time: float | None = None
    paired: bool = False


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
    field: FlowField, latents: Latents, weights: Tokens, seeds: Seeds, batch_multiplier: int | None = None
) -> Iterator[LossSum]:
    """Yield the flow-matching loss in chunks to add up, each with its own graph.

    The loss is the weighted sum over (token, layer, context, draw) of the squared velocity error, averaged over
    channels. Times are logit-normal; every latent is drawn `batch_multiplier` times (None: `field.config`'s) with fresh
    time and noise, which do not depend on `weights`. Tokens with weight 0, or without latents, cost nothing. Latents
    are detached.

    Call `chunk.loss.backward()` on each chunk: the gradients accumulate in `.grad`, and only one chunk is in memory.
    Then divide them by the sum of the weights over all chunks and processes.
    """
    draws = [_Draws(_TRAINING, range(batch_multiplier or field.config.batch_multiplier))]
    shifts = field.config.context_shifts
    latents = Latents(latents.values.detach(), latents.mask)
    for queries in _queries(field, latents, weights != 0, seeds, shifts, draws):
        weight = weights[queries.sample, queries.token].to(field.dtype)
        yield LossSum((weight * _squared_error(field, queries)).sum(), weight.sum())


def velocity_deviation(
    field: FlowField, latents: Latents, config: FlowRewardConfig, seeds: Seeds, keep_graph: bool = False
) -> Tokens:
    """The squared velocity error of each token, averaged over channels, flow layers, contexts and times.

    `config.debias` weights the error at time t by t / (1 - t). A token is averaged over the contexts that it has;
    without one, and at padding, the result is 0 (`scored_tokens` tells such zeros apart). With `keep_graph`, gradients
    flow to the field's parameters and to the latents, both as targets and as contexts.
    """
    return deviation_by_draw(field, latents, config, seeds, keep_graph=keep_graph).mean(0)


def deviation_by_draw(
    field: FlowField,
    latents: Latents,
    config: FlowRewardConfig,
    seeds: Seeds,
    again: bool = False,
    keep_graph: bool = False,
) -> Float[Tensor, "unit batch token"]:
    """The `velocity_deviation` of each independent unit of noise: a draw, or an antithetic pair of draws.

    An even `config.noise_draws` makes pairs of noise e and -e, so that what the error has of odd powers of the noise
    cancels. All times of a unit have their own noise. With `again`, other units are drawn, to see what changes.

    >>> by_draw = deviation_by_draw(field, latents, FlowRewardConfig(noise_draws=8), seeds)  # (4, batch, token)
    """
    mask, shifts, count = latents.mask, config.context_shifts or field.config.context_shifts, config.noise_draws
    kind, paired = _CHECKING if again else _SCORING, count % 2 == 0
    draws = [_Draws(kind, range(i * count, (i + 1) * count), time, paired) for i, time in enumerate(config.times)]
    velocity = field if keep_graph else field.for_scoring()
    with torch.set_grad_enabled(keep_graph):
        total = torch.zeros(count // (1 + paired), *mask.shape, dtype=field.dtype, device=mask.device)
        for queries in _queries(field, latents, mask, seeds, shifts, draws):
            error = _squared_error(velocity, queries)
            if config.debias:
                error = error * likelihood_weight(queries.t)
            unit = queries.draw % count // (1 + paired)
            total.index_put_((unit, queries.sample, queries.token), error, accumulate=True)
        contexts = torch.stack([has_context(mask, shift) for shift in shifts]).sum(0)
        terms = contexts.clamp(min=1) * len(field.layer_indices) * len(config.times)
        return total / (terms * (1 + paired))


def _squared_error(velocity: Callable[..., Points], queries: _Queries) -> PerPoint:
    """Mean over channels of (v - dx_t)^2."""
    v = velocity(queries.x_t, queries.t, queries.context, queries.layer)
    return (v - queries.dx_t).square().mean(-1)


def _queries(
    field: FlowField, latents: Latents, wanted: TokenMask, seeds: Seeds, shifts: list[int], draws: list[_Draws]
) -> Iterator[_Queries]:
    """The queries of the wanted tokens: for each layer and kind of draw, packed over draws, contexts and samples."""
    mask, values = latents.mask, latents.values
    if len(seeds) != len(mask):
        raise ValueError(f"{len(seeds)} seeds for {len(mask)} samples: pass one seed per sample")
    if values.shape[1] != len(field.layer_indices):
        raise ValueError(f"latents of {values.shape[1]} layers do not fit: wanted {len(field.layer_indices)} layers")
    field.check_statistics()
    has = torch.stack([has_context(mask, shift) & wanted for shift in shifts])
    number, sample, token = has.nonzero(as_tuple=True)
    shift = torch.tensor(shifts, device=token.device)[number]
    keys = folded(seeds.to(token.device)[sample], token, 1 + shift)
    pairs = _Pairs(sample, token, latents.rows[sample, 1 + token], latents.rows[sample, 1 + token + shift], keys)
    for layer in range(len(field.layer_indices)):
        for drawn in draws:
            for rows in torch.arange(len(drawn.numbers) * len(token), device=token.device).split(TOKENS_PER_FORWARD):
                if len(rows):
                    yield _at(field, values, pairs, layer, drawn, rows)


@dataclass(frozen=True)
class _Pairs:
    """Targets and their contexts: sample, token, rows in the latents, and the key of their random numbers."""

    sample: Int[Tensor, "pair"]
    token: Int[Tensor, "pair"]
    target: Int[Tensor, "pair"]
    context: Int[Tensor, "pair"]
    keys: Int[Tensor, "pair"]


def _at(field: FlowField, values: Tensor, pairs: _Pairs, layer: int, drawn: _Draws, rows: Int[Tensor, "n"]) -> _Queries:
    """The queries at one layer; row r is pair r mod the number of pairs, in draw r div that number."""
    pair, draw = rows % len(pairs.token), drawn.numbers.start + rows // len(pairs.token)
    keys = folded(pairs.keys[pair], drawn.kind, layer, draw // 2 if drawn.paired else draw)
    target, context = (
        field.standardised(values[row[pair], layer].to(field.dtype), layer) for row in (pairs.target, pairs.context)
    )
    if drawn.time is None:
        t = sample_times(keys, field.config.time_mean, field.config.time_std).to(field.dtype)
    else:
        t = torch.full((1,), drawn.time, dtype=field.dtype, device=rows.device)
    depth = torch.full((1,), field.layer_depths[layer], dtype=field.dtype, device=rows.device)
    noise = normals(keys, target.shape[1]).to(field.dtype)
    if drawn.paired:
        noise *= (1 - 2 * (draw % 2))[:, None]
    point = linear_path(noise, target, t)
    return _Queries(point.x_t, point.dx_t, t, context, depth, pairs.sample[pair], pairs.token[pair], draw)
