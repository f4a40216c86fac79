"""A rendered prompt is shown as the messages that it was made of, whatever the chat template."""

import pytest
from transformers import AutoProcessor

from rlfr_mm.viewing.messages import messages_of

ASKED = [{"role": "system", "parts": ["Be brief."]}, {"role": "user", "parts": ["1+1?\nThink."]}]
RENDERED = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n"
    "<|im_start|>user\n1+1?\nThink.<|im_end|>\n<|im_start|>assistant\n",
    "llama": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n1+1?\nThink.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "gemma": "<bos><start_of_turn>system\nBe brief.<end_of_turn>\n<start_of_turn>user\n1+1?\nThink.<end_of_turn>\n"
    "<start_of_turn>model\n",
    "phi": "<|system|>\nBe brief.<|end|>\n<|user|>\n1+1?\nThink.<|end|>\n<|assistant|>\n",
}


@pytest.mark.parametrize("template", RENDERED)
def test_the_marks_of_a_template_become_roles(template: str) -> None:
    assert messages_of(RENDERED[template], 0) == ASKED


def test_mistral_and_deepseek_marks_become_roles() -> None:
    turns = [("user", "1+1?"), ("assistant", "2"), ("user", "2+2?")]
    expected = [{"role": role, "parts": [text]} for role, text in turns]
    assert messages_of("<s>[INST]1+1?[/INST]2</s>[INST]2+2?[/INST]", 0) == expected
    deepseek = "<｜begin▁of▁sentence｜><｜User｜>1+1?<｜Assistant｜>2<｜end▁of▁sentence｜><｜User｜>2+2?<｜Assistant｜>"
    assert messages_of(deepseek, 0) == expected


def test_images_stand_where_their_placeholders_are() -> None:
    pads = "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>"
    prompt = f"<|im_start|>user\n{pads}Is {pads} larger?<|im_end|>\n<|im_start|>assistant\n"
    assert messages_of(prompt, 2) == [{"role": "user", "parts": [None, "Is ", None, " larger?"]}]
    assert messages_of(prompt, 1)[0]["parts"] == [f"{pads}Is {pads} larger?"]
    assert messages_of("<image>\nHow many?", 1) == [{"role": "", "parts": [None, "\nHow many?"]}]


def test_a_prompt_without_marks_is_shown_as_it_is() -> None:
    for prompt in ("", "1+1?", "Explain <|im_start|>user\nin ChatML", "The tag <image> is text"):
        assert messages_of(prompt, 0) == [{"role": "", "parts": [prompt] if prompt else []}]


def test_the_template_of_the_embedded_policy_is_known(tiny_policy) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "How many?"}]
    chat = [{"role": "user", "content": content}]
    rendered = AutoProcessor.from_pretrained(tiny_policy).apply_chat_template(chat, add_generation_prompt=True)
    assert messages_of(rendered, 1)[-1] == {"role": "user", "parts": [None, "How many?"]}
