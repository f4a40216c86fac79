"""A processor that encodes a prompt once for all rollouts of its group: TRL asks it for every rollout, and twice."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from transformers import ProcessorMixin

from rlfr_mm.policy import Processor


def encode_once(processor: Processor) -> Processor:
    """The processor, in a copy that encodes equal neighbours in a batch once and repeats the result for each of them.

    What it returns is the same. Other processors than those with `image_grid_thw`, as Qwen's have, are returned as they
    are: how their pixel values are divided among images differs from model to model.

    >>> trainer.processing_class = encode_once(trainer.processing_class)
    """
    is_new = isinstance(processor, ProcessorMixin) and not isinstance(processor, _EncodesOnce)
    if not is_new or "image_grid_thw" not in processor.image_processor.model_input_names:
        return processor
    own = copy.copy(processor)
    own.__class__ = type(type(processor).__name__, (_EncodesOnce, type(processor)), {})  # its files name the class
    return own


class _EncodesOnce(ProcessorMixin):
    def __call__(self, images: Any = None, text: Any = None, *args: Any, **kwargs: Any) -> Any:
        encode = super().__call__
        nested = images is None or all(isinstance(own, (list, tuple)) for own in images)
        if not isinstance(text, list) or not nested or args or kwargs.get("videos") or kwargs.get("audio"):
            return encode(images, text, *args, **kwargs)
        each = images or [[]] * len(text)
        first, places = runs(list(zip(text, map(list, each), strict=True)))
        kept = None if images is None else [images[i] for i in first]
        output = encode(images=kept, text=[text[i] for i in first], **kwargs)
        return _repeated(output, places, [len(each[i]) for i in first])

    def apply_chat_template(self, conversation: Any, *args: Any, **kwargs: Any) -> Any:
        render = super().apply_chat_template
        batched, encodes = conversation and isinstance(conversation[0], list), kwargs.get("tokenize")
        if args or not batched or not encodes or not kwargs.get("return_dict"):
            return render(conversation, *args, **kwargs)
        first, places = runs(conversation)
        parts = [[part for message in conversation[i] for part in message.get("content") or []] for i in first]
        images = [sum(isinstance(part, dict) and part["type"] == "image" for part in own) for own in parts]
        return _repeated(render([conversation[i] for i in first], **kwargs), places, images)


def runs(values: Sequence[Any]) -> tuple[list[int], list[int]]:
    """The places at which a run of equal values begins, and for each value the number of its run.

    >>> runs(["a", "a", "b", "a"])
    ([0, 2, 3], [0, 0, 1, 2])
    """
    first: list[int] = []
    places = []
    for i, value in enumerate(values):
        if not first or not _equal(value, values[first[-1]]):
            first.append(i)
        places.append(len(first) - 1)
    return first, places


def _equal(a: Any, b: Any) -> bool:
    """Whether two parts of conversations are surely equal; images of other kinds than PIL's must be the same object."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, (list, tuple)) and len(a) == len(b) and all(map(_equal, a, b))
    return a is b or (isinstance(a, (str, int, float, Image.Image)) and bool(a == b))


def _repeated(output: Any, places: list[int], images: list[int]) -> Any:
    """An encoded batch with row places[i] of `output` as its row i; images[j] is the number of images of row j."""
    if len(places) == len(images):
        return output
    grids = output.get("image_grid_thw", torch.zeros(0, 3, dtype=torch.long))
    patches = [int(own.prod(-1).sum()) for own in torch.as_tensor(grids).split(images)] if len(grids) else []
    for name, value in output.items():
        if name in ("pixel_values", "image_grid_thw"):
            own = torch.as_tensor(value).split(patches if name == "pixel_values" else images)
            output[name] = torch.cat([own[place] for place in places])
        else:
            output[name] = value[places] if isinstance(value, torch.Tensor) else [value[place] for place in places]
    return output
