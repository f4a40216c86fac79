"""The settings of the flow: its field, the reward that is made of it, and its online updates.

They are sections of a training YAML (`rlfr_mm.config`), and their defaults are the paper's (arXiv 2510.10201).
"""

from dataclasses import dataclass
from typing import Literal

from rlfr_mm.config_file import check_options, option, require


@dataclass
class FlowConfig:
    """The flow field: the latents it models, its network and its training times. Field checkpoints carry it."""

    flow_layers: list[float] = option(
        make=lambda: [0.25, 0.5, 0.75], must="in [0, 1]", help="layers that the latents come from, as depth fractions"
    )
    context_shifts: list[int] = option(
        make=lambda: [1],
        must="in [-1, 1]",
        help="context position minus target position: 1 is the following token, -1 the previous one, 0 itself",
    )
    num_blocks: int = option(4, must=">= 1", help="residual blocks; the paper has 4 for 1.5B and 3B, 6 for 7B and 8B")
    width: int | None = option(None, help="width of the network; null: the policy's hidden size")
    standardise: bool = option(False, help="standardise latents per layer and channel with recorded statistics")
    time_mean: float = option(0.0, help="training times are sigmoid(N(m, s^2)): the mean m")
    time_std: float = option(1.0, must="> 0", help="training times are sigmoid(N(m, s^2)): the standard deviation s")
    batch_multiplier: int = option(
        4, must=">= 1", help="fresh (time, noise) draws per latent and step; the paper has 2 for 7B text models"
    )
    matmuls: Literal["auto", "bfloat16", "float32"] = option(
        "auto", help="precision of the field's matrix products; auto: bfloat16 if the policy computes in it"
    )
    random_start: bool = option(False, help="start from random weights, without `field` and without `offline`")
    hidden_size: int | None = option(None, help="hidden size of the policy; read from the policy")
    num_policy_layers: int | None = option(None, help="decoder layers of the policy; read from the policy")
    rms_norm_eps: float | None = option(None, help="RMSNorm epsilon of the policy; read from the policy")

    def __post_init__(self) -> None:
        check_options(self, "flow")


@dataclass
class FlowRewardConfig:
    """How velocity deviations become a reward per token, in order (arXiv 2510.10201, section 4).

    The paper scores tokens by their velocity deviation. The other scores, and what is marked as a control, measure what
    the deviation is worth. The field runs and the same tokens are scored whatever the score.
    """

    score: Literal["deviation", "logprob", "departure", "expert_value"] = option(
        "deviation",
        help="score of a token, larger is worse. deviation: its velocity deviation; logprob (control): minus the "
        "log-probability; departure (control): 1 where a rollout first leaves the expert solution; expert_value "
        "(control): what a token takes from the policy's chance to complete that solution",
    )
    times: list[float] = option(make=lambda: [0.8], must="in (0, 1)", help="times at which the deviation is measured")
    debias: bool = option(
        True,
        help="weight the deviation at time t by t / (1 - t); with a single time this multiplies all deviations by one "
        "number, which min-max and z-score scaling undo",
    )
    noise_draws: int = option(
        1, must=">= 1", help="draws of noise per token and time; an even number makes antithetic pairs"
    )
    group_noise: bool = option(
        False, help="give the rollouts of a group the same noise at the same position, so that differences are theirs"
    )
    context_shifts: list[int] | None = option(
        None, must="in [-1, 1]", help="contexts used for scoring; null: those that the field was trained with"
    )
    token_baseline: bool = option(
        False,
        help="subtract from each score the mean score of the same token of the vocabulary over all rollouts of the "
        "batch; a token that occurs once is left with 0",
    )
    normalisation: Literal["sequence", "group", "batch", "none"] = option(
        "sequence", help="tokens over which scores are normalised together"
    )
    scale: Literal["minmax", "zscore"] = option("minmax", help="min-max to `range`, or zero mean and unit variance")
    range: list[float] = option(make=lambda: [-1.0, 1.0], help="[low, high] of min-max scaling")
    power: float | None = option(None, must="> 0", help="exponent applied to the magnitude of a score; null: none")
    threshold: float | None = option(0.6, must=">= 0", help="drop scores of at most this magnitude; null: keep all")
    topk: int | None = option(15, must=">= 1", help="keep the k largest magnitudes per sequence; null: keep all")
    topk_sides: Literal["magnitude", "both"] = option(
        "magnitude", help="tokens to keep: the k largest magnitudes, or floor(k/2) at each end if at least k are left"
    )
    shuffle: Literal["none", "sequence", "group", "token_id"] = option(
        "none",
        help="placebo (control): permute the rewards among the tokens of a sequence or group, or among those of the "
        "batch that are the same token of the vocabulary",
    )
    flow_coef: float = option(0.01, help="the reward is -flow_coef times the normalised score (the paper's beta)")
    credit: Literal["same_token", "next_token"] = option(
        "same_token",
        help="token from which on a token's reward counts: itself, as in the paper, or the next one, on which its "
        "deviation also depends if the context is the following token",
    )
    gamma: float = option(1.0, must="in [0, 1]", help="discount of the reward-to-go; 0: only a token's own reward")
    centre: bool = option(False, help="subtract the group's mean reward-to-go, so that the flow adds zero on average")
    groups: Literal["all", "unanimous"] = option(
        "all", help="groups that receive the reward; unanimous: those whose outcome rewards are all equal"
    )

    def __post_init__(self) -> None:
        check_options(self, "flow_reward")
        ordered = len(self.range) == 2 and self.range[0] < self.range[1]
        require(ordered, f"flow_reward.range={self.range}", "[low, high] with low < high")
        one_per_end = self.topk_sides != "both" or self.topk is None or self.topk >= 2
        require(one_per_end, f"flow_reward.topk={self.topk} with topk_sides: both", ">= 2, one token at each end")


@dataclass
class OnlineUpdateConfig:
    """The field's update after each policy step, on rollouts chosen by rejection sampling."""

    enabled: bool = option(True, help="update the field during training")
    accept: list[Literal["correct", "entropy"]] = option(
        make=lambda: ["correct"],
        help="what the field learns from. correct: rollouts with an accuracy reward of at least accept_reward; "
        "entropy: tokens above entropy_quantile; both: such tokens of such rollouts",
    )
    accept_reward: float = option(1.0, help="smallest accuracy reward of an accepted rollout")
    entropy_quantile: float = option(0.8, must="in [0, 1)", help="quantile over the tokens of the batch, for 'entropy'")
    rejected_weight: float = option(0.0, must="in [0, 1]", help="weight of rejected tokens in the field's loss")
    passes: int = option(1, must=">= 1", help="field updates per policy step, each with fresh times and noise")
    batch_multiplier: int | None = option(None, must=">= 1", help="draws per latent; null: flow.batch_multiplier")
    token_share: float = option(1.0, must="in (0, 1]", help="share of the tokens, drawn at random, of each update")
    learning_rate: float = option(1e-4, must="> 0", help="learning rate of AdamW")
    weight_decay: float = option(0.01, help="AdamW's weight decay of matrices, not of norms and biases")
    warmup_steps: int = option(
        10, must=">= 0", help="updates over which the learning rate rises: AdamW starts without its offline moments"
    )
    max_grad_norm: float = option(1.0, must="> 0", help="gradients are clipped to this norm")

    def __post_init__(self) -> None:
        check_options(self, "update")
        require(not self.enabled or len(self.accept) > 0, "update.accept=[]", "at least one of correct, entropy")
