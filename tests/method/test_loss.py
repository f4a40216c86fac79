import pytest
import torch
from accelerate import Accelerator

from rlfr_mm.config import FlowRewardConfig, OnlineUpdateConfig
from rlfr_mm.method import loss as flow_loss
from rlfr_mm.method.field import latent_statistics
from rlfr_mm.method.flow_reward import flow_reward
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.loss import (
    deviation_by_draw,
    flow_matching_chunks,
    has_context,
    scored_tokens,
    velocity_deviation,
)
from rlfr_mm.method.noise import folded, normals
from rlfr_mm.method.path import sample_times
from rlfr_mm.method.update import FieldUpdater
from tests.whole_loss import flow_matching_loss

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
SEEDS = torch.tensor([11, 22, 33, 44])
WEIGHTS = torch.tensor([[1.0, 0.5, 2.0, 1.0], [1.0, 0.0, 9.0, 9.0], [3.0, 9.0, 9.0, 9.0], [9.0] * 4])


def latents(seed: int = 0) -> torch.Tensor:
    """Latents for MASK: four rollouts, three layers, the last prompt token and four response tokens, width 8."""
    return torch.randn(4, 3, 5, 8, generator=torch.Generator().manual_seed(seed))


def packed(values: torch.Tensor | None = None, mask: torch.Tensor = MASK) -> Latents:
    return Latents.pack(latents() if values is None else values, mask)


def asked(field):
    """A list that collects (x_t, t, context, layer, velocity) of every later call of the field."""
    calls = []

    def note(module, inputs, output):
        x_t, t, context, layer = inputs
        calls.append((x_t, t.expand(len(x_t)), context, layer.expand(len(x_t)), output.detach()))

    field.register_forward_hook(note)
    return calls


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (1, [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]),
        (0, [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
        (-1, [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]),
    ],
)
def test_tokens_with_a_context(shift, expected):
    assert has_context(MASK, shift).int().tolist() == expected


def test_token_beside_a_masked_one_has_no_context_there():
    mask = torch.tensor([[True, False, True]])
    assert has_context(mask, 1).tolist() == [[False, False, False]]
    assert has_context(mask, -1).tolist() == [[True, False, False]]
    assert scored_tokens(mask, [1, -1]).tolist() == [[True, False, False]]


@pytest.mark.parametrize("shift", [1, 0, -1])
def test_field_is_asked_on_the_path_of_each_token_with_its_own_context_and_depth(make_field, shift):
    field = make_field(context_shifts=[shift], batch_multiplier=2)
    calls, values = asked(field), latents()
    result = flow_matching_loss(field, packed(values), MASK.float(), SEEDS)
    (x_t, t, context, layer, velocity) = (torch.cat(column) for column in zip(*calls, strict=True))
    pairs = {
        (values[b, i, 1 + k + shift].tolist().__repr__(), round(depth, 4)): values[b, i, 1 + k]
        for b, k in has_context(MASK, shift).nonzero().tolist()
        for i, depth in enumerate([0.25, 0.5, 0.75])
    }
    assert len(x_t) == 2 * len(pairs)
    target = torch.stack(
        [pairs[row.tolist().__repr__(), round(d, 4)] for row, d in zip(context, layer.tolist(), strict=True)]
    )
    noise = (x_t - t[:, None] * target) / (1 - t[:, None])
    assert len(noise.unique(dim=0)) == len(noise) and len(t.unique()) == len(t)  # a fresh draw for every row
    assert abs(noise.mean()) < 0.2 and abs(noise.std() - 1) < 0.2
    expected = (velocity - (target - noise)).square().mean(-1).sum()
    torch.testing.assert_close(result.loss, expected, rtol=1e-4, atol=1e-4)
    assert result.weight == 2 * len(pairs)


def test_weights_multiply_each_tokens_error_and_weight_zero_costs_nothing(make_field):
    field = make_field(context_shifts=[-1])
    singles = []
    for b, k in MASK.nonzero().tolist():
        one = torch.zeros(4, 4)
        one[b, k] = 1
        calls = asked(field)
        singles.append(WEIGHTS[b, k] * flow_matching_loss(field, packed(), one, SEEDS).loss)
        assert sum(len(call[0]) for call in calls) == 3 * 4  # layers x draws
    total = flow_matching_loss(field, packed(), WEIGHTS, SEEDS)
    torch.testing.assert_close(total.loss, torch.stack(singles).sum())
    assert total.weight == (1 + 0.5 + 2 + 1 + 1 + 3) * 3 * 4


def test_nothing_accepted_gives_zero_loss_and_no_forward(make_field):
    field = make_field()
    calls = asked(field)
    result = flow_matching_loss(field, packed(), torch.zeros(4, 4), SEEDS)
    assert (result.loss, result.weight, calls) == (0, 0, [])


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, 1e30])
def test_padding_values_never_matter(make_field, garbage):
    field, config = make_field(context_shifts=[1, -1]), FlowRewardConfig()
    clean, dirty, weights = latents(), latents(), WEIGHTS.clone()
    dirty[:, :, 1:].masked_fill_(~MASK[:, None, :, None], garbage)
    weights[~MASK] = garbage
    a, b = (flow_matching_loss(field, *case, SEEDS) for case in ((packed(clean), WEIGHTS), (packed(dirty), weights)))
    assert torch.equal(a.loss, b.loss) and torch.equal(a.weight, b.weight)
    a, b = (velocity_deviation(field, packed(values), config, SEEDS) for values in (clean, dirty))
    assert torch.equal(a, b) and not a[~MASK].any()


def test_samples_keep_their_draws_in_other_batches_and_with_other_padding(make_field):
    field, config, values = make_field(), FlowRewardConfig(times=[0.3, 0.8]), latents()
    whole = velocity_deviation(field, packed(values), config, SEEDS)
    alone = velocity_deviation(field, packed(values[1:2, :, :3], MASK[1:2, :2]), config, SEEDS[1:2])
    torch.testing.assert_close(whole[1:2, :2], alone)
    order = [2, 0, 3, 1]
    shuffled = velocity_deviation(field, packed(values[order], MASK[order]), config, SEEDS[order])
    torch.testing.assert_close(shuffled, whole[order])
    parts = [
        flow_matching_loss(field, packed(values[r], MASK[r]), WEIGHTS[r], SEEDS[r]) for r in (slice(2), slice(2, 4))
    ]
    together = flow_matching_loss(field, packed(values), WEIGHTS, SEEDS)
    torch.testing.assert_close(parts[0].loss + parts[1].loss, together.loss)
    other_seeds = velocity_deviation(field, packed(values), config, torch.tensor([1, 2, 3, 4]))
    assert ((other_seeds != whole) == scored_tokens(MASK, [1])).all()


def test_chunks_add_up_in_loss_weight_and_gradients(make_field, monkeypatch):
    field, values = make_field(context_shifts=[1, -1]), latents()
    whole = flow_matching_loss(field, packed(values), WEIGHTS, SEEDS)
    whole.loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in field.named_parameters()}
    field.zero_grad()
    monkeypatch.setattr(flow_loss, "TOKENS_PER_FORWARD", 7)
    calls, total = asked(field), 0.0
    for chunk in flow_matching_chunks(field, packed(values), WEIGHTS, SEEDS):
        chunk.loss.backward()
        total += chunk.weight
    # 40 rows per layer: 4 draws of the 4 tokens with weight and a following token, and of the 6 with a previous one
    assert [len(call[0]) for call in calls] == 3 * [7, 7, 7, 7, 7, 5]
    assert total == whole.weight
    for name, parameter in field.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)
        assert parameter.grad.any(), name


def test_deviation_does_not_depend_on_the_size_of_a_forward(make_field, monkeypatch):
    field, config = make_field(), FlowRewardConfig(context_shifts=[1, 0, -1])
    whole = velocity_deviation(field, packed(), config, SEEDS)
    monkeypatch.setattr(flow_loss, "TOKENS_PER_FORWARD", 5)
    torch.testing.assert_close(velocity_deviation(field, packed(), config, SEEDS), whole)


def test_only_the_field_gets_gradients(make_field):
    values = latents().requires_grad_()
    flow_matching_loss(make_field(), packed(values), WEIGHTS, SEEDS).loss.backward()
    assert values.grad is None
    assert not velocity_deviation(make_field(), packed(values), FlowRewardConfig(), SEEDS).requires_grad


def test_deviation_with_its_graph_is_the_same_and_teaches_the_field(make_field):
    field, config, values = make_field(), FlowRewardConfig(times=[0.3, 0.8]), latents()
    plain = velocity_deviation(field, packed(values), config, SEEDS)
    kept = velocity_deviation(field, packed(values), config, SEEDS, keep_graph=True)
    assert torch.equal(plain, kept.detach()) and not plain.requires_grad
    kept.sum().backward()
    with torch.no_grad():
        for parameter in field.parameters():
            if parameter.grad is not None:
                parameter -= 1e-4 * parameter.grad / parameter.grad.norm().clamp(min=1e-9)
    assert velocity_deviation(field, packed(values), config, SEEDS).sum() < plain.sum()


def test_deviation_is_the_mean_over_layers_times_and_the_contexts_a_token_has(make_field):
    field, values = make_field(context_shifts=[1, -1]), latents()[:1, :, :3]
    mask = torch.ones(1, 2, dtype=torch.bool)
    calls = asked(field)
    deviation = velocity_deviation(field, packed(values, mask), FlowRewardConfig(times=[0.5, 0.8]), torch.tensor([7]))[
        0
    ]
    x_t, t, context, layer, velocity = (torch.cat(column) for column in zip(*calls, strict=True))
    errors = {0: [], 1: []}
    for i in range(len(t)):
        row = [0.25, 0.5, 0.75].index(layer[i].item())
        position = next(j for j in range(3) if torch.equal(values[0, row, j], context[i]))
        token = {0: 0, 1: 1, 2: 0}[position]  # the last prompt token and token 1 are token 0's; token 0 is token 1's
        noise = (x_t[i] - t[i] * values[0, row, 1 + token]) / (1 - t[i])
        error = (velocity[i] - (values[0, row, 1 + token] - noise)).square().mean()
        errors[token].append(error * {0.5: 1, 0.8: 4}[round(t[i].item(), 3)])
    assert (len(errors[0]), len(errors[1])) == (3 * 2 * 2, 3 * 2 * 1)
    torch.testing.assert_close(deviation, torch.stack([torch.stack(errors[k]).mean() for k in (0, 1)]))


def test_packed_deviation_and_loss_equal_a_loop_over_tokens(make_field):
    """Number by number: one call of the field per point, with the noise of its own key."""
    field, values = make_field(context_shifts=[1, -1], standardise=True, batch_multiplier=2), latents()
    field.set_statistics(latent_statistics(packed(values)))
    config = FlowRewardConfig(times=[0.3, 0.8])

    def error(b: int, k: int, shift: int, layer: int, kind: int, draw: int, time: float | None) -> torch.Tensor:
        key = folded(SEEDS[b : b + 1], k, 1 + shift, kind, layer, draw)
        x_1, context = (
            (values[b, layer, 1 + at] - field.latent_mean[layer]) / field.latent_std[layer] for at in (k, k + shift)
        )
        x_0, t = normals(key, 8)[0], sample_times(key) if time is None else torch.tensor([time])
        velocity = field((t * x_1 + (1 - t) * x_0)[None], t, context[None], torch.tensor([field.layer_depths[layer]]))
        weight = 1 if time is None else time / (1 - time)
        return weight * (velocity[0] - (x_1 - x_0)).square().mean()

    deviation, loss = torch.zeros(4, 4), torch.zeros(())
    for b, k in MASK.nonzero().tolist():
        own = [shift for shift in (1, -1) if has_context(MASK, shift)[b, k]]
        points = [(b, k, shift, layer) for shift in own for layer in range(3)]
        scores = [error(*point, 0, draw, time) for point in points for draw, time in enumerate(config.times)]
        deviation[b, k] = torch.stack(scores).mean()
        loss = loss + WEIGHTS[b, k] * torch.stack([error(*point, 1, i, None) for point in points for i in (0, 1)]).sum()
    torch.testing.assert_close(velocity_deviation(field, packed(values), config, SEEDS), deviation)
    torch.testing.assert_close(flow_matching_loss(field, packed(values), WEIGHTS, SEEDS).loss, loss)


def test_bfloat16_products_change_the_deviation_by_rounding_only(make_field):
    field = make_field()
    exact = velocity_deviation(field, packed(), FlowRewardConfig(), SEEDS)
    field.multiply_like(policy_in_bf16=True)
    rounded = velocity_deviation(field, packed(), FlowRewardConfig(), SEEDS)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0.03, atol=1e-3)
    each_pass = velocity_deviation(field, packed(), FlowRewardConfig(), SEEDS, keep_graph=True)
    torch.testing.assert_close(rounded, each_pass.detach())  # weights rounded once, or by autocast
    flow_matching_loss(field, packed(), WEIGHTS, SEEDS).loss.backward()
    assert {p.grad.dtype for p in field.parameters() if p.grad is not None} == {torch.float32}
    asked_for = make_field(matmuls="float32")
    asked_for.multiply_like(policy_in_bf16=True)
    assert torch.equal(velocity_deviation(asked_for, packed(), FlowRewardConfig(), SEEDS), exact)


def test_bfloat16_scoring_sees_every_change_of_the_weights(make_field):
    field = make_field(matmuls="bfloat16")
    updater = FieldUpdater(field, OnlineUpdateConfig(learning_rate=0.1, warmup_steps=0), Accelerator(cpu=True))
    found = [velocity_deviation(field, packed(), FlowRewardConfig(), SEEDS)]
    for change in (
        lambda: updater.step([(packed(), WEIGHTS, SEEDS)]),
        lambda: field.load_state_dict(make_field(seed=3).state_dict()),
    ):
        change()
        found.append(velocity_deviation(field, packed(), FlowRewardConfig(), SEEDS))
        fresh = make_field(matmuls="bfloat16")
        fresh.load_state_dict(field.state_dict())
        expected = velocity_deviation(fresh, packed(), FlowRewardConfig(), SEEDS)
        torch.testing.assert_close(found[-1], expected, rtol=0.01, atol=1e-3)
        assert not torch.allclose(found[-1], found[-2], rtol=0.1)


@pytest.mark.parametrize("draws", [1, 2, 3, 8])
def test_deviation_is_the_mean_over_units_of_noise_pairs_if_even(make_field, draws):
    field, config = make_field(), FlowRewardConfig(noise_draws=draws, times=[0.5, 0.8])
    calls = asked(field)
    by_draw = deviation_by_draw(field, packed(), config, SEEDS)
    assert len(by_draw) == (draws if draws % 2 else draws // 2)
    torch.testing.assert_close(velocity_deviation(field, packed(), config, SEEDS), by_draw.mean(0))
    tokens = int(scored_tokens(MASK, [1]).sum())
    for x_t, *_ in calls[:6]:  # layers x times, each with all draws of the same tokens
        assert len(x_t) == draws * tokens
        x_t = x_t.view(draws, tokens, 8)
        if draws % 2 == 0:  # e and -e: the mean of the two points is t times the latent
            middle = (x_t[::2] + x_t[1::2]) / 2
            torch.testing.assert_close(middle, middle[:1].expand_as(middle))
        assert len(x_t.flatten(0, 1).unique(dim=0)) == draws * tokens


def test_a_single_draw_is_the_noise_of_earlier_versions(make_field):
    field, values = make_field(), latents()
    calls = asked(field)
    velocity_deviation(field, packed(values), FlowRewardConfig(), SEEDS)
    sample, token = scored_tokens(MASK, [1]).nonzero(as_tuple=True)
    for layer, (x_t, t, _, _, _) in enumerate(calls):
        noise = normals(folded(SEEDS[sample], token, 2, 0, layer, 0), 8)
        torch.testing.assert_close(x_t, t[:, None] * values[sample, layer, 1 + token] + (1 - t[:, None]) * noise)


def test_scoring_and_training_and_a_second_scoring_share_no_noise(make_field):
    field, values, noises = make_field(context_shifts=[0], batch_multiplier=1, time_std=0.01), latents(), []
    for score in (
        lambda: velocity_deviation(field, packed(values), FlowRewardConfig(times=[0.5]), SEEDS),
        lambda: deviation_by_draw(field, packed(values), FlowRewardConfig(times=[0.5]), SEEDS, again=True),
        lambda: flow_matching_loss(field, packed(values), MASK.float(), SEEDS),
    ):
        calls = asked(field)
        score()
        sample, token = MASK.nonzero(as_tuple=True)
        rows = [
            (x_t - t[:, None] * values[sample, layer, 1 + token]) / (1 - t[:, None])
            for layer, (x_t, t, *_) in enumerate(calls)
        ]
        noises.append(torch.cat(rows).flatten())
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert abs(torch.corrcoef(torch.stack([noises[i], noises[j]]))[0, 1]) < 0.25


def test_rollouts_with_one_seed_have_one_noise_at_each_position(make_field):
    """Two rollouts with the same latents then differ in nothing."""
    field, values = make_field(), latents()
    values[1] = values[0]
    mask = torch.ones(4, 4, dtype=torch.bool)
    for seeds, alike in ((torch.tensor([5, 5, 6, 6]), True), (torch.tensor([5, 6, 7, 8]), False)):
        deviation = velocity_deviation(field, packed(values, mask), FlowRewardConfig(), seeds)
        assert torch.equal(deviation[0], deviation[1]) == alike
        assert len(deviation[0, :3].unique()) == 3


def test_debias_changes_no_reward_of_the_default_with_its_single_time(make_field):
    deviations = [
        velocity_deviation(make_field(), packed(), FlowRewardConfig(debias=debias), SEEDS) for debias in (False, True)
    ]
    scored = scored_tokens(MASK, [1])
    plain, debiased = (flow_reward(each, scored, FlowRewardConfig(), num_generations=4) for each in deviations)
    torch.testing.assert_close(plain, debiased)


def test_debias_weighs_time_by_its_likelihood_weight(make_field):
    field = make_field()
    plain, debiased = (
        velocity_deviation(field, packed(), FlowRewardConfig(times=[0.75], debias=debias), SEEDS)
        for debias in (False, True)
    )
    assert plain[scored_tokens(MASK, [1])].min() > 0
    torch.testing.assert_close(debiased, 3 * plain)


def test_bfloat16_latents_and_autocast_are_computed_in_float32(make_field):
    field, half = make_field(), latents().bfloat16()
    expected = velocity_deviation(field, packed(half.float()), FlowRewardConfig(), SEEDS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        deviation = velocity_deviation(field, packed(half), FlowRewardConfig(), SEEDS)
        loss = flow_matching_loss(field, packed(half), WEIGHTS, SEEDS).loss
    assert deviation.dtype == torch.float32 and torch.equal(deviation, expected)
    assert torch.equal(loss, flow_matching_loss(field, packed(half.float()), WEIGHTS, SEEDS).loss)


def test_standardising_field_sees_standardised_targets_and_contexts(make_field):
    values = latents() * torch.linspace(0.1, 30, 8) + 5
    raw, standardising = make_field(), make_field(standardise=True)
    statistics = latent_statistics(packed(values))
    standardising.set_statistics(statistics)
    standard = (values - statistics.mean[:, None]) / statistics.std[:, None]
    expected = velocity_deviation(raw, packed(standard.float()), FlowRewardConfig(), SEEDS)
    deviation = velocity_deviation(standardising, packed(values), FlowRewardConfig(), SEEDS)
    torch.testing.assert_close(deviation, expected, rtol=1e-4, atol=1e-4)


def test_global_generator_is_left_alone(make_field):
    field, before = make_field(), torch.get_rng_state()
    velocity_deviation(field, packed(), FlowRewardConfig(), SEEDS)
    flow_matching_loss(field, packed(), WEIGHTS, SEEDS)
    assert torch.equal(torch.get_rng_state(), before)


def test_latents_or_seeds_that_do_not_fit_are_an_error(make_field):
    with pytest.raises(ValueError, match="3 seeds for 4 samples"):
        flow_matching_loss(make_field(), packed(), WEIGHTS, SEEDS[:3])
    with pytest.raises(ValueError, match="4 positions for 4 response tokens: wanted 5"):
        packed(latents()[:, :, 1:])
    with pytest.raises(ValueError, match="wanted 3 layers"):
        velocity_deviation(make_field(), packed(latents()[:, :2]), FlowRewardConfig(), SEEDS)
    with pytest.raises(ValueError, match="10 rows of latents for a mask with 5 positions"):
        Latents(packed().values, MASK & MASK[:, 2:3])
