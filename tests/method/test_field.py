import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, Qwen2_5_VLConfig

from rlfr_mm.config import FlowConfig
from rlfr_mm.method.field import FlowField, flow_layer_indices, latent_statistics
from rlfr_mm.method.latents import Latents

# Every tensor of a public flow_model.bin with hidden size 8, width 6 and 2 blocks.
PUBLIC_SHAPES = {
    "input_proj.weight": (6, 8),
    "input_proj.bias": (6,),
    "time_embed.freqs": (1, 128),
    "time_embed.mlp.0.weight": (6, 256),
    "time_embed.mlp.0.bias": (6,),
    "time_embed.mlp.2.weight": (6, 6),
    "time_embed.mlp.2.bias": (6,),
    "cond_embed.weight": (6, 8),
    "cond_embed.bias": (6,),
    "layer_embed.freqs": (1, 128),
    "layer_embed.mlp.0.weight": (6, 256),
    "layer_embed.mlp.0.bias": (6,),
    "layer_embed.mlp.2.weight": (6, 6),
    "layer_embed.mlp.2.bias": (6,),
    "res_blocks.0.in_ln.weight": (6,),
    "res_blocks.0.mlp.0.weight": (6, 6),
    "res_blocks.0.mlp.0.bias": (6,),
    "res_blocks.0.mlp.2.weight": (6, 6),
    "res_blocks.0.mlp.2.bias": (6,),
    "res_blocks.0.adaLN_modulation.1.weight": (18, 6),
    "res_blocks.0.adaLN_modulation.1.bias": (18,),
    "res_blocks.1.in_ln.weight": (6,),
    "res_blocks.1.mlp.0.weight": (6, 6),
    "res_blocks.1.mlp.0.bias": (6,),
    "res_blocks.1.mlp.2.weight": (6, 6),
    "res_blocks.1.mlp.2.bias": (6,),
    "res_blocks.1.adaLN_modulation.1.weight": (18, 6),
    "res_blocks.1.adaLN_modulation.1.bias": (18,),
    "final_layer.norm_final.weight": (6,),
    "final_layer.linear.weight": (8, 6),
    "final_layer.linear.bias": (8,),
    "final_layer.adaLN_modulation.1.weight": (12, 6),
    "final_layer.adaLN_modulation.1.bias": (12,),
}
SMALL = {"num_blocks": 2, "width": 6, "hidden_size": 8, "num_policy_layers": 8, "rms_norm_eps": 1e-5}


def public_weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weights = {name: 0.4 * torch.randn(shape, generator=generator) for name, shape in PUBLIC_SHAPES.items()}
    freqs = torch.tensor([[math.exp(-math.log(10000) * i / 128) for i in range(128)]])
    return weights | {"time_embed.freqs": freqs, "layer_embed.freqs": freqs}


def public_forward(w, x_t, t, context, layer, eps):
    """The velocity written out from the published description, without the product's code."""

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def silu(x):
        return x / (1 + torch.exp(-x))

    def norm(name, x):
        return w[f"{name}.weight"] * x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps)

    def embed(name, value):
        angle = value[:, None] * w[f"{name}.freqs"]
        return linear(f"{name}.mlp.2", silu(linear(f"{name}.mlp.0", torch.cat([angle.cos(), angle.sin()], -1))))

    condition = silu(embed("time_embed", t) + linear("cond_embed", context) + embed("layer_embed", layer))
    x = linear("input_proj", x_t)
    for i in range(2):
        modulation = linear(f"res_blocks.{i}.adaLN_modulation.1", condition)
        shift, scale, gate = modulation[:, :6], modulation[:, 6:12], modulation[:, 12:]
        h = norm(f"res_blocks.{i}.in_ln", x) * (1 + scale) + shift
        x = x + gate * linear(f"res_blocks.{i}.mlp.2", silu(linear(f"res_blocks.{i}.mlp.0", h)))
    modulation = linear("final_layer.adaLN_modulation.1", condition)
    return linear("final_layer.linear", norm("final_layer.norm_final", x) * (1 + modulation[:, 6:]) + modulation[:, :6])


@pytest.mark.parametrize("prefix", ["", "model."])
def test_public_weights_give_the_published_networks_velocities(tmp_path, prefix):
    weights = public_weights()
    torch.save({prefix + name: tensor for name, tensor in weights.items()}, tmp_path / "flow_model.bin")
    field = FlowField.from_pretrained(tmp_path / "flow_model.bin", FlowConfig(**SMALL))
    x_t, context = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(1))
    t, layer = torch.linspace(0.05, 0.95, 16), torch.tensor([0.25, 0.5] * 8)
    expected = public_forward(weights, x_t, t, context, layer, eps=1e-5)
    assert expected.std() > 0.1
    torch.testing.assert_close(field(x_t, t, context, layer), expected, rtol=1e-5, atol=1e-5)


def test_state_dict_has_exactly_the_public_keys_and_shapes():
    field = FlowField(FlowConfig(**SMALL))
    assert {name: tuple(tensor.shape) for name, tensor in field.state_dict().items()} == PUBLIC_SHAPES


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("cond_embed.bias"), 'Missing key.*: "cond_embed.bias"'),
        (
            lambda w: w.update({"res_blocks.2.in_ln.weight": torch.ones(6)}),
            'Unexpected key.*: "res_blocks.2.in_ln.weight"',
        ),
        (
            lambda w: w.update({"input_proj.weight": torch.ones(6, 9)}),
            r"size mismatch for input_proj.weight: .*\[6, 9\].*\[6, 8\]",
        ),
    ],
)
def test_missing_unexpected_or_misshapen_weights_are_named_in_one_line(tmp_path, change, message):
    weights = public_weights()
    change(weights)
    torch.save(weights, tmp_path / "flow_model.bin")
    with pytest.raises(ValueError, match=message) as error:
        FlowField.from_pretrained(tmp_path / "flow_model.bin", FlowConfig(**SMALL))
    assert "\n" not in str(error.value)


def test_flow_model_bin_without_a_configuration_is_an_error(tmp_path):
    torch.save(public_weights(), tmp_path / "flow_model.bin")
    with pytest.raises(ValueError, match="its flow configuration must be given"):
        FlowField.from_pretrained(tmp_path / "flow_model.bin")


def test_saved_field_comes_back_with_its_configuration_statistics_and_velocities(tmp_path, make_field):
    field = make_field(standardise=True, context_shifts=[1, -1], num_blocks=3)
    latents = torch.randn(2, 3, 6, 8) * 3 + 1
    field.set_statistics(latent_statistics(Latents.pack(latents, torch.ones(2, 5, dtype=torch.bool))))
    field.save_pretrained(tmp_path / "flow")
    loaded = FlowField.from_pretrained(tmp_path / "flow")
    assert loaded.config == field.config
    query = torch.randn(4, 8), torch.rand(4), torch.randn(4, 8), torch.rand(4)
    assert torch.equal(loaded(*query), field(*query))
    assert torch.equal(loaded.standardised(latents[0, 1], 1), field.standardised(latents[0, 1], 1))
    assert sorted(path.name for path in (tmp_path / "flow").iterdir()) == ["flow.safetensors", "flow_config.json"]


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK" + bytes(200)], ids=["empty", "text", "cut"])
def test_files_that_are_no_weights_are_named_in_one_line(tmp_path, make_field, content):
    (tmp_path / "flow_model.bin").write_bytes(content)
    with pytest.raises(ValueError, match=r"flow_model.bin is not a readable weights file \(\w+\)$"):
        FlowField.from_pretrained(tmp_path / "flow_model.bin", FlowConfig(**SMALL))
    make_field().save_pretrained(tmp_path)
    (tmp_path / "flow.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"flow.safetensors is not a readable weights file \(\w+\)$"):
        FlowField.from_pretrained(tmp_path)


def test_public_weights_are_read_without_running_code(tmp_path):
    torch.save({"input_proj.weight": Path}, tmp_path / "flow_model.bin")
    with pytest.raises(ValueError, match=r"UnpicklingError"):
        FlowField.from_pretrained(tmp_path / "flow_model.bin", FlowConfig(**SMALL))


def test_saving_again_replaces_the_earlier_field(tmp_path, make_field):
    make_field(seed=0).save_pretrained(tmp_path)
    make_field(seed=1).save_pretrained(tmp_path)
    weight = FlowField.from_pretrained(tmp_path).input_proj.weight
    assert torch.equal(weight, make_field(seed=1).input_proj.weight)


def test_folder_that_cannot_be_read_is_an_error_in_one_line(tmp_path, make_field):
    with pytest.raises(ValueError, match=r"flow_config.json is missing"):
        FlowField.from_pretrained(tmp_path / "nowhere")
    make_field().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="carries its own configuration"):
        FlowField.from_pretrained(tmp_path, FlowConfig(**SMALL))
    values = json.loads((tmp_path / "flow_config.json").read_text())
    (tmp_path / "flow_config.json").write_text(json.dumps(values | {"num_blocks": 3}))
    with pytest.raises(ValueError, match=r'Missing key.*: "res_blocks.2'):
        FlowField.from_pretrained(tmp_path)
    (tmp_path / "flow_config.json").write_text(json.dumps(values | {"format_version": 99}))
    with pytest.raises(ValueError, match="format_version=99"):
        FlowField.from_pretrained(tmp_path)
    (tmp_path / "flow.safetensors").unlink()
    with pytest.raises(ValueError, match=r"flow.safetensors is missing"):
        FlowField.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("layers", "expected"), [(36, [9, 18, 27]), (28, [7, 14, 21]), (32, [8, 16, 24]), (4, [1, 2, 3])]
)
def test_flow_layers_of_known_depths(layers, expected):
    assert flow_layer_indices(FlowConfig(num_policy_layers=layers)) == expected


def test_deepest_fraction_is_clipped_to_the_last_layer():
    config = FlowConfig(flow_layers=[0.5, 1.0], hidden_size=8, num_policy_layers=8, rms_norm_eps=1e-6)
    assert flow_layer_indices(config) == [4, 7]
    assert FlowField(config).layer_depths == [0.5, 0.875]


def test_layers_that_coincide_are_an_error():
    with pytest.raises(ValueError, match=r"name layers \[1, 1, 1\] of 2"):
        flow_layer_indices(FlowConfig(num_policy_layers=2, flow_layers=[0.5, 0.75, 1.0]))


def test_field_takes_its_shape_from_the_text_part_of_a_vision_language_policy():
    policy = Qwen2_5_VLConfig(text_config={"hidden_size": 24, "num_hidden_layers": 12, "rms_norm_eps": 1e-4})
    field = FlowField.for_policy(FlowConfig(num_blocks=1), policy)
    assert (field.config.hidden_size, field.config.num_policy_layers, field.config.rms_norm_eps) == (24, 12, 1e-4)
    assert field.input_proj.weight.shape == (24, 24)
    assert field.layer_indices == [3, 6, 9]
    field.check_matches(policy)


def test_field_of_another_policy_is_refused_by_name_of_what_differs():
    def llama(hidden, layers):
        return LlamaConfig(hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=2)

    field = FlowField.for_policy(FlowConfig(num_blocks=1), llama(16, 8))
    with pytest.raises(ValueError, match="hidden_size=16, this one has 32"):
        field.check_matches(llama(32, 8))
    with pytest.raises(ValueError, match="num_policy_layers=8, this one has 6"):
        field.check_matches(llama(16, 6))


def test_first_velocity_is_zero_and_other_linears_are_xavier():
    field = FlowField(FlowConfig(**SMALL))
    assert not field(torch.randn(3, 8), torch.rand(3), torch.randn(3, 8), torch.rand(3)).any()
    weight = field.time_embed.mlp[0].weight
    bound = math.sqrt(6 / (256 + 6))
    assert 0.9 * bound < weight.abs().max() <= bound
    assert not field.time_embed.mlp[0].bias.any()
    assert torch.equal(field.res_blocks[0].in_ln.weight, torch.ones(6))
    assert not any(field.res_blocks[0].adaLN_modulation[1].weight.flatten())


def test_initial_weights_depend_on_the_seed_and_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    first, same, other = (FlowField(FlowConfig(**SMALL), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.input_proj.weight, same.input_proj.weight)
    assert not torch.equal(first.input_proj.weight, other.input_proj.weight)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(0, 100))
def test_statistics_of_batches_add_up_to_those_of_all_tokens(cut, seed):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(5, 2, 4, 3, generator=generator) * 2 + 100
    mask = torch.rand(5, 3, generator=generator) < 0.7
    mask[0] = True
    latents[:, :, 1:].masked_fill_(~mask[:, None, :, None], torch.nan)
    parts = [latent_statistics(Latents.pack(latents[part], mask[part])) for part in (slice(cut), slice(cut, None))]
    total = parts[0] + parts[1]
    tokens = torch.stack([latents[i, :, 1 + k] for i, k in mask.nonzero().tolist()]).double()
    assert total.count == len(tokens)
    torch.testing.assert_close(total.mean, tokens.mean(0))
    torch.testing.assert_close(total.std, tokens.std(0, correction=0), rtol=1e-6, atol=1e-6)


def test_channel_that_never_varies_is_only_centred():
    latents = torch.full((1, 1, 4, 2), 0.1) * 1000
    latents[0, 0, 2, 1] = 5.0
    statistics = latent_statistics(Latents.pack(latents, torch.ones(1, 3, dtype=torch.bool)))
    assert statistics.std[0, 0] == 1 and statistics.std[0, 1] > 1


def test_standardising_field_needs_statistics_first(make_field):
    with pytest.raises(ValueError, match="needs set_statistics"):
        make_field(standardise=True).check_statistics()
    with pytest.raises(ValueError, match="standardise: true"):
        make_field().set_statistics(latent_statistics(Latents.pack(torch.randn(1, 3, 3, 8), torch.ones(1, 2) > 0)))
