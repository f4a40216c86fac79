"""Names for the tensor shapes in signatures, which are checked under pytest."""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Tokens = Float[Tensor, "batch token"]  # a value per response token; a row is a rollout
TokenMask = Bool[Tensor, "batch token"]  # True: keep
TokenIds = Int[Tensor, "batch token"]
Points = Float[Tensor, "n hidden"]  # rows of the flow field
PerPoint = Float[Tensor, "n"]
PerPointOrOne = Float[Tensor, "#n"]  # a value per row, or one for all
PerRollout = Float[Tensor, "batch"]
Seeds = Int[Tensor, "seed"]  # one per rollout, of its times and noise
Keys = Int[Tensor, "n"]  # of random numbers (rlfr_mm.method.noise)
