"""Random numbers that are a function of integer keys: the flow's noise and times, keyed by sample, token and draw.

A running generator gives other numbers when a batch is split, padded or distributed in another way. Here a number
depends only on its key, so that every split, process and device computes the same one, without a loop over samples.
The generator is SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a counter, scrambled by a mixing function of 64 bits.
It needs a third of the time of Philox-4x32-10, which would show next to the matmuls of a small field.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from rlfr_mm.method.shapes import Keys

# The constants of SplitMix64 as signed numbers; torch's integers wrap around as unsigned ones would.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_MIX_1, _MIX_2 = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64
_LOW = 2**32 - 1


def folded(keys: Keys, *values: int | Int[Tensor, "n"]) -> Keys:
    """New keys, one for each key and combination of `values`; numbers under different keys are independent.

    >>> keys = folded(torch.tensor([7, 7]), torch.tensor([0, 1]))  # sample 7, tokens 0 and 1
    """
    for value in values:
        keys = _mixed(keys * _STEP + (value + 1))
    return keys


def normals(keys: Keys, size: int) -> Float[Tensor, "n size"]:
    """`size` standard normal numbers per key, in float32: Box-Muller on the two halves of each 64-bit number.

    They are below 6.8 in magnitude. Devices differ only by the rounding of log, sine and cosine.
    """
    counters = torch.arange(1, (size + 1) // 2 + 1, device=keys.device) * _STEP
    bits = _mixed(keys[:, None] + counters)
    radius = ((bits >> 32) & _LOW).float().add_(0.5).mul_(2.0**-32).log_().mul_(-2).sqrt_()
    angle = bits.bitwise_and_(_LOW).float().mul_(2 * math.pi * 2.0**-32)
    return torch.cat([radius * angle.cos(), radius.mul_(angle.sin_())], dim=1)[:, :size]


def _mixed(x: Tensor) -> Tensor:
    """SplitMix64's mixing function. It overwrites `x`, because passes over memory are what it costs."""
    high = torch.empty_like(x)
    for shift, factor in ((30, _MIX_1), (27, _MIX_2), (31, None)):
        torch.bitwise_right_shift(x, shift, out=high)
        x ^= high.bitwise_and_(2 ** (64 - shift) - 1)  # torch extends the sign
        if factor is not None:
            x *= factor
    return x
