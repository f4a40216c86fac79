"""FlowField: the velocity network over a policy's latents, its statistics, and its files.

The network is the denoising MLP of MAR's diffusion loss (arXiv 2406.11838) with adaptive layer norm. Its inputs are the
noisy latent, the time, the latent of a neighbouring token (the context) and the depth of the layer. Modules have the
names of RLFR's public `flow_model.bin`, whose weights therefore load unchanged.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from rlfr_mm.config import FlowConfig
from rlfr_mm.config_file import as_dict, build
from rlfr_mm.files import read_json, write_json, write_whole
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.shapes import PerPointOrOne, Points

FORMAT_VERSION = 1
WEIGHTS_NAME = "flow.safetensors"
CONFIG_NAME = "flow_config.json"
NUM_FREQUENCIES = 128  # 256 sinusoidal features: cosines, then sines


def flow_layer_indices(config: FlowConfig) -> list[int]:
    """The 0-based indices of the decoder layers whose outputs are the latents: round(fraction * layers), clipped.

    ValueError if two fractions name the same layer, because the policy is too shallow, or if its depth is unknown.

    >>> flow_layer_indices(FlowConfig(flow_layers=[0.25, 0.5, 0.75], num_policy_layers=36))
    [9, 18, 27]
    """
    if config.num_policy_layers is None:
        raise ValueError("flow.num_policy_layers is not set: create the configuration with config_for_policy")
    layers = config.num_policy_layers
    indices = [min(round(fraction * layers), layers - 1) for fraction in config.flow_layers]
    if len(set(indices)) < len(indices):
        raise ValueError(f"flow.flow_layers={config.flow_layers} name layers {indices} of {layers}: all must differ")
    return indices


def config_for_policy(config: FlowConfig, policy_config: Any) -> FlowConfig:
    """`config` with hidden_size, num_policy_layers and rms_norm_eps from (the text part of) a transformers config.

    The epsilon is 1e-6 for a policy without RMSNorm. ValueError if `config` is already filled in for another policy.
    """
    text = policy_config.get_text_config()
    found = {
        "hidden_size": text.hidden_size,
        "num_policy_layers": text.num_hidden_layers,
        "rms_norm_eps": getattr(text, "rms_norm_eps", 1e-6),
    }
    for name in ("hidden_size", "num_policy_layers"):
        given = getattr(config, name)
        if given not in (None, found[name]):
            raise ValueError(f"the flow field was made for a policy with {name}={given}, this one has {found[name]}")
    if config.rms_norm_eps is not None:
        found["rms_norm_eps"] = config.rms_norm_eps
    config = replace(config, **found)
    flow_layer_indices(config)  # raises if two layers coincide
    return config


@dataclass(frozen=True)
class LatentStatistics:
    """Sums over response tokens, per flow layer and channel. Statistics of two batches add up with `+`."""

    count: Int[Tensor, ""]
    total: Float[Tensor, "layer hidden"]
    total_square: Float[Tensor, "layer hidden"]

    def __add__(self, other: "LatentStatistics") -> "LatentStatistics":
        return LatentStatistics(
            self.count + other.count, self.total + other.total, self.total_square + other.total_square
        )

    @property
    def mean(self) -> Float[Tensor, "layer hidden"]:
        return self.total / self.count

    @property
    def std(self) -> Float[Tensor, "layer hidden"]:
        """The population standard deviation; 1 for a channel that never varies, so that it is only centred."""
        variance = self.total_square / self.count - self.mean**2
        noise_floor = 1e-12 * (self.total_square / self.count)  # rounding error of the difference, in float64
        return torch.where(variance > noise_floor, variance, torch.ones_like(variance)).sqrt()


def latent_statistics(latents: Latents) -> LatentStatistics:
    """Statistics of the response tokens of a batch, in float64. Position 0, the last prompt token, is left out."""
    tokens = latents.values[latents.rows[:, 1:][latents.mask]].double()
    return LatentStatistics(latents.mask.sum(), tokens.sum(0), tokens.square().sum(0))


class SinusoidalEmbedding(nn.Module):
    """Embedding of numbers in [0, 1]: [cos, sin] features, then a small MLP."""

    freqs: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.empty(1, NUM_FREQUENCIES))
        self.mlp = nn.Sequential(nn.Linear(2 * NUM_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, value: Float[Tensor, "n"]) -> Float[Tensor, "n width"]:
        angle = value[:, None] * self.freqs
        device = value.device.type
        # One row costs less than rounding the weights to bfloat16 for it.
        with torch.autocast(device, torch.bfloat16, torch.is_autocast_enabled(device) and len(value) > 1):
            return self.mlp(torch.cat([angle.cos(), angle.sin()], dim=-1))


class ResidualBlock(nn.Module):
    """x + gate * MLP(norm(x) * (1 + scale) + shift), where shift, scale and gate depend on the condition."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.in_ln = nn.RMSNorm(width, eps=eps)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(width, 3 * width))  # SiLU: in FlowField

    def forward(self, x: Float[Tensor, "n width"], condition: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        shift, scale, gate = self.adaLN_modulation(condition).chunk(3, dim=-1)
        return torch.addcmul(x, gate, self.mlp(torch.addcmul(shift, self.in_ln(x).to(shift.dtype), 1 + scale)))


class FinalLayer(nn.Module):
    """The modulated linear layer from the network's width to a velocity."""

    def __init__(self, width: int, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.norm_final = nn.RMSNorm(width, eps=eps)
        self.adaLN_modulation = nn.Sequential(nn.Identity(), nn.Linear(width, 2 * width))  # SiLU: in FlowField
        self.linear = nn.Linear(width, hidden_size)

    def forward(self, x: Float[Tensor, "n width"], condition: Float[Tensor, "n width"]) -> Float[Tensor, "n hidden"]:
        shift, scale = self.adaLN_modulation(condition).chunk(2, dim=-1)
        return self.linear(torch.addcmul(shift, self.norm_final(x).to(shift.dtype), 1 + scale))


class FlowField(nn.Module):
    """The velocity v(x_t, t, context, layer) of the flow over a policy's latents, with float32 weights and sums.

    Matrix products are in float32 too, unless `multiply_like` or `config.matmuls` chooses bfloat16. With
    `config.standardise` the field works on standardised latents and needs `set_statistics`
    before its first use.

    Args:
        config: filled in for a policy (`config_for_policy`); `FlowField.for_policy` does it for you.
        seed: of the initial weights, which have their own generator: torch's global random state is not touched.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: FlowConfig, seed: int = 0) -> None:
        super().__init__()
        self.layer_indices = flow_layer_indices(config)
        if config.hidden_size is None or config.num_policy_layers is None or config.rms_norm_eps is None:
            raise ValueError("flow.hidden_size and flow.rms_norm_eps are not set: use config_for_policy")
        self.config, self.bf16_matmuls = config, config.matmuls == "bfloat16"
        self._rounded: dict[str, Tensor] = {}  # weights in bfloat16, and what they were made from: `for_scoring`
        self._rounded_from: list[tuple[int, int]] = []
        self.layer_depths = [index / config.num_policy_layers for index in self.layer_indices]
        hidden, eps = config.hidden_size, config.rms_norm_eps
        width = config.width or hidden
        with torch.device("meta"):  # no memory and no random numbers before _reset_parameters
            self.input_proj = nn.Linear(hidden, width)
            self.cond_embed = nn.Linear(hidden, width)
            self.time_embed = SinusoidalEmbedding(width)
            self.layer_embed = SinusoidalEmbedding(width)
            self.res_blocks = nn.ModuleList([ResidualBlock(width, eps) for _ in range(config.num_blocks)])
            self.final_layer = FinalLayer(width, hidden, eps)
            if config.standardise:
                self.register_buffer("latent_mean", torch.empty(len(self.layer_indices), hidden))
                self.register_buffer("latent_std", torch.empty(len(self.layer_indices), hidden))
        if torch.get_default_device().type == "meta":  # only the shapes are wanted
            return
        self.to_empty(device="cpu")
        self._reset_parameters(torch.Generator().manual_seed(seed))

    @torch.no_grad()
    def _reset_parameters(self, generator: torch.Generator) -> None:
        """Xavier weights and zero biases; modulations and the last layer are zero, so that the first velocity is 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.RMSNorm):
                nn.init.ones_(module.weight)
            elif isinstance(module, SinusoidalEmbedding):
                module.freqs.copy_(torch.exp(-math.log(10000) * torch.arange(NUM_FREQUENCIES) / NUM_FREQUENCIES)[None])
        for name, parameter in self.named_parameters():
            if "adaLN_modulation" in name or "final_layer.linear" in name:
                nn.init.zeros_(parameter)
        if self.config.standardise:
            self.latent_mean.fill_(math.nan)
            self.latent_std.fill_(math.nan)

    def multiply_like(self, policy_in_bf16: bool) -> None:
        """Multiply matrices in bfloat16 if the policy does, unless `config.matmuls` says otherwise."""
        if self.config.matmuls == "auto":
            self.bf16_matmuls = policy_in_bf16

    def for_scoring(self) -> Callable[..., Points]:
        """`forward` without gradients for the weights, which are rounded to bfloat16 once until `forget_rounded`.

        Autocast rounds them in each pass, which costs a CPU a third of the time of the products. Other weights, and
        values that were loaded or written into them, are noticed; what a fused optimiser does is not.
        """
        if not self.bf16_matmuls:
            return self
        matrices = {n: p for n, p in self.named_parameters() if p.dim() == 2 and "_embed.mlp." not in n}
        state = [(matrix.data_ptr(), matrix._version) for matrix in matrices.values()]
        if state != self._rounded_from:
            self._rounded = {name: matrix.detach().bfloat16() for name, matrix in matrices.items()}
            self._rounded_from = state
        return lambda *inputs: torch.func.functional_call(self, self._rounded, inputs)

    def forget_rounded(self) -> None:
        """Drop what `for_scoring` keeps. An optimiser step must: it changes weights, and gradients need the memory."""
        self._rounded, self._rounded_from = {}, []

    @property
    def dtype(self) -> torch.dtype:
        return self.final_layer.norm_final.weight.dtype  # not a matrix, which may be rounded (`for_scoring`)

    def forward(self, x_t: Points, t: PerPointOrOne, context: Points, layer: PerPointOrOne) -> Points:
        """The velocity at the points `x_t`, whatever the caller's autocast.

        Args:
            x_t, context: points in the space of `standardised`.
            t: times in [0, 1]; one for all points is embedded once.
            layer: depths, layer index / number of layers; one for all points is embedded once.
        """
        with torch.autocast(x_t.device.type, torch.bfloat16, enabled=self.bf16_matmuls):
            shared = self.time_embed(t).to(self.dtype) + self.layer_embed(layer).to(self.dtype)
            condition = nn.functional.silu(self.cond_embed(context).to(self.dtype) + shared)
            if self.bf16_matmuls:  # autocast would round it anew for each block
                condition = condition.bfloat16()
            x = self.input_proj(x_t).to(self.dtype)  # the residual sums start in full precision and stay there
            for block in self.res_blocks:
                x = block(x, condition)
            return self.final_layer(x, condition).to(self.dtype)

    def standardised(self, latents: Points, layer: int) -> Points:
        """Latents of the flow layer number `layer` in the space that the field models: as they are, or standardised."""
        if not self.config.standardise:
            return latents
        return (latents - self.latent_mean[layer]) / self.latent_std[layer]

    def check_statistics(self) -> None:
        """ValueError if the field standardises and does not know how yet."""
        if self.config.standardise and self.latent_std.isnan().any():
            raise ValueError("a flow field with flow.standardise: true needs set_statistics before its first use")

    def set_statistics(self, statistics: LatentStatistics) -> None:
        """Set the mean and standard deviation for `standardised`; they are saved with the weights."""
        if not self.config.standardise:
            raise ValueError("set_statistics needs a field with flow.standardise: true")
        self.latent_mean.copy_(statistics.mean)
        self.latent_std.copy_(statistics.std)

    @classmethod
    def for_policy(cls, config: FlowConfig, policy_config: Any, seed: int = 0) -> "FlowField":
        """A new field for the policy with this transformers config, text or vision-language."""
        return cls(config_for_policy(config, policy_config), seed)

    def check_matches(self, policy_config: Any) -> None:
        """ValueError in one line if the field was made for a policy of another width or depth."""
        config_for_policy(self.config, policy_config)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write flow.safetensors and then flow_config.json, each of them whole or not at all."""
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        write_whole(Path(folder) / WEIGHTS_NAME, save(weights))
        write_json(Path(folder) / CONFIG_NAME, {"format_version": FORMAT_VERSION, **as_dict(self.config)})

    @classmethod
    def from_pretrained(cls, path: str | Path, config: FlowConfig | None = None) -> "FlowField":
        """The field in a folder of `save_pretrained`, or in a public `flow_model.bin`.

        A public file holds only weights, possibly with the prefix `model.`; it needs a `config` that is filled in for
        the policy. ValueError in one line if weights are missing, unexpected or misshapen.

        >>> field = FlowField.from_pretrained("runs/quickstart/final/flow")
        """
        path = Path(path)
        if path.is_file():
            if config is None:
                raise ValueError(f"{path} holds only weights: its flow configuration must be given")
            weights = {name.removeprefix("model."): tensor for name, tensor in _read_weights(path).items()}
        else:
            if config is not None:
                raise ValueError(f"the field in {path} carries its own configuration: do not give another one")
            for name in (CONFIG_NAME, WEIGHTS_NAME):
                if not (path / name).is_file():
                    raise ValueError(f"no flow field in {path}: {name} is missing; give a folder that train_flow wrote")
            values = read_json(path / CONFIG_NAME)
            version = values.pop("format_version", None)
            if version != FORMAT_VERSION:
                raise ValueError(f"{path / CONFIG_NAME} has format_version={version}, this code reads {FORMAT_VERSION}")
            config = build(FlowConfig, values, "flow")
            weights = _read_weights(path / WEIGHTS_NAME)
        field = cls(config)
        try:
            field.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).removeprefix("Error(s) in loading state_dict for FlowField:").split())
            raise ValueError(f"the weights in {path} do not fit this flow field: {reason}") from None
        return field


def _read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, or of a torch file (read with `weights_only`); ValueError for other files."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except (SafetensorError, UnpicklingError, RuntimeError, EOFError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable weights file ({type(error).__name__})") from error
