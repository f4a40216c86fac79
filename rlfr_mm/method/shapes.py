"""Names for the tensor shapes in signatures, which are checked under pytest."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Tokens = Float[Tensor, "batch token"]  # a value per response token; a row is a rollout
TokenMask = Bool[Tensor, "batch token"]  # True: keep
TokenIds = Int[Tensor, "batch token"]
Points = Float[Tensor, "n hidden"]  # rows of the flow field
PerPoint = Float[Tensor, "n"]
PerRollout = Float[Tensor, "batch"]
Latents = Float[Tensor, "batch layer position hidden"]  # position 0 is the last prompt token, 1 + k response token k
