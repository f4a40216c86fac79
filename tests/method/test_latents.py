"""Latents are transformers' hidden states of the response tokens, for every kind of decoder."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from rlfr_mm.method.latents import Latents, decoder_layers, record_latents, stop_after_layer

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 100,
}
# Response tokens of three rollouts: all four, two with a hole between them, none.
MASK = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]], dtype=torch.bool)
VISION = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32}


def _policy(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "lora":
        return get_peft_model(_policy("llama"), LoraConfig(target_modules="all-linear", init_lora_weights=False))
    if kind in ("llama", "qwen2"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **TEXT))
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    vision = VISION | ({"deepstack_visual_indexes": [0, 1]} if kind == "qwen3_vl" else {"fullatt_block_indexes": [1]})
    config = AutoConfig.for_model(kind, text_config=TEXT | {"rope_parameters": rope}, vision_config=vision)
    return AutoModelForImageTextToText.from_config(config)


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl", "qwen2", "llama", "lora"])
def test_latents_are_hidden_states_of_the_response(kind: str):
    model = _policy(kind).eval()
    ids = torch.randint(0, 90, (3, 9))
    with torch.no_grad(), record_latents(model, [2, 0], MASK) as recorder:
        output = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
    (latents,) = recorder.passes
    rows = [(0, -5), (0, -4), (0, -3), (0, -2), (0, -1), (1, -5), (1, -4), (1, -2)]  # position 0, then response tokens
    expected = torch.stack([torch.stack([output.hidden_states[i][b, k] for i in (3, 1)]) for b, k in rows])
    torch.testing.assert_close(latents.values, expected, rtol=0, atol=0)
    for row, (b, k) in enumerate(rows):
        assert latents.rows[b, k + 5] == row


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "qwen3_vl", "qwen2", "llama", "lora"])
def test_early_exit_gives_the_same_latents_and_runs_no_later_layer(kind: str):
    model = _policy(kind).eval()
    ids = torch.randint(0, 90, (2, 7))
    ran = []
    handles = [
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
        for index, layer in enumerate(decoder_layers(model))
    ]
    with torch.no_grad(), record_latents(model, [1, 2], MASK[:2, :3]) as whole:
        model(input_ids=ids)
    assert ran == [0, 1, 2, 3]
    ran.clear()
    with torch.no_grad(), record_latents(model, [1, 2], MASK[:2, :3]) as part, stop_after_layer(model, 2):
        model(input_ids=ids)
        pytest.fail("the pass went past the deepest flow layer")
    assert ran == [0, 1, 2]
    assert torch.equal(whole.passes[0].values, part.passes[0].values)
    for handle in handles:
        handle.remove()


def test_no_hook_is_left_behind_also_after_an_error():
    model = _policy("llama")
    with pytest.raises(RuntimeError, match="from inside"), record_latents(model, [1], MASK), stop_after_layer(model, 1):
        raise RuntimeError("from inside")
    assert not any(layer._forward_hooks for layer in decoder_layers(model))


def test_each_pass_takes_its_rows_of_the_mask():
    model = _policy("llama").eval()
    ids, mask = torch.randint(0, 90, (5, 6)), torch.tensor([[True, True], [True, False]])[[0, 1, 1, 0, 1]]
    with torch.no_grad(), record_latents(model, [3], mask, store_on=torch.device("cpu")) as recorder:
        for part in ids.split(2):
            model(input_ids=part)
    with torch.no_grad(), record_latents(model, [3], mask) as whole:
        model(input_ids=ids)
    assert [latents.mask.tolist() for latents in recorder.passes] == [part.tolist() for part in mask.split(2)]
    torch.testing.assert_close(torch.cat([part.values for part in recorder.passes]), whole.passes[0].values)


def test_dropped_rollouts_leave_no_rows_and_the_others_keep_theirs():
    padded = torch.randn(3, 2, 5, 8)
    latents = Latents.pack(padded, MASK)
    kept = latents.keep(torch.tensor([[False], [True], [True]]).expand(3, 4))
    assert kept.mask.tolist() == [[False] * 4, MASK[1].tolist(), [False] * 4]
    assert torch.equal(kept.values, padded[1, :, [0, 1, 3]].transpose(0, 1))
    assert kept.values.untyped_storage().nbytes() == kept.values.nbytes  # nothing else stays in memory
    assert latents.keep(torch.ones(3, 4, dtype=torch.bool)) is latents


class _TupleDecoder(nn.Module):
    """Layers as before transformers 5: each returns a tuple whose first entry is (batch, position, hidden)."""

    class Layer(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
            return x + 1, None

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([self.Layer(), self.Layer()])

    def get_decoder(self) -> nn.Module:
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)[0]
        return x


def test_layers_that_return_tuples_are_read_like_those_that_return_tensors():
    model, x = _TupleDecoder(), torch.randn(2, 4, 3)
    with record_latents(model, [0, 1], torch.ones(2, 1, dtype=torch.bool)) as recorder:
        model(x)
    expected = torch.stack([x[:, -2:] + 1, x[:, -2:] + 1 + 1], dim=2).flatten(0, 1)
    assert torch.equal(recorder.passes[0].values, expected)


def test_a_model_without_decoder_layers_is_named():
    with pytest.raises(TypeError, match="Linear has no get_decoder"):
        decoder_layers(nn.Linear(2, 2))
