"""What a training run costs, counted by hand: parameters, operations, bytes, and from them days, energy and money.

Letters: N tokens of a batch, D d_model, F d_ff, H heads, T length, V vocabulary, P parameters.
"""

import math
from dataclasses import dataclass

from utils.models.config import TransformerConfig
from utils.models.losses import LOSS_CHUNK

SHARDINGS = ("nothing", "optimizer", "gradients", "parameters")
SECONDS_A_DAY = 86_400


def block_parameters(config: TransformerConfig) -> int:
    """Parameters of one block, biases and norms included."""
    D, F, G = config.d_model, config.width_ff, config.kv_heads * (config.d_model // config.n_heads)
    bias, matrices = int(config.bias), 3 if config.gated else 2
    attention = 2 * D * D + 2 * D * G + bias * (2 * D + 2 * G)
    feed_forward = matrices * D * F + bias * ((matrices - 1) * F + D)
    if config.n_experts:
        feed_forward = config.n_experts * feed_forward + D * config.n_experts
    return attention + feed_forward + 2 * _norm_parameters(config)


def parameters(config: TransformerConfig) -> int:
    """Parameters of a GPT of this configuration."""
    D, V = config.d_model, config.vocab_size
    tables = V * D * (1 if config.tied else 2) + (config.context_length * D if config.positions == "learned" else 0)
    return config.n_layers * block_parameters(config) + _norm_parameters(config) + tables


def _norm_parameters(config: TransformerConfig) -> int:
    return config.d_model * (1 if config.norm == "rms" or not config.bias else 2)


def block_flops(config: TransformerConfig, length: int) -> int:
    """Operations of one block's forward pass over a row of `length` tokens; matrix products alone, 2 a multiply-add."""
    D, F, G = config.d_model, config.width_ff, config.kv_heads * (config.d_model // config.n_heads)
    attention = 2 * (2 * D * D + 2 * D * G) + 4 * length * D
    feed_forward = 2 * (3 if config.gated else 2) * D * F
    if config.n_experts:
        feed_forward = config.experts_per_token * feed_forward + 2 * D * config.n_experts
    return length * (attention + feed_forward)


def forward_flops(config: TransformerConfig, length: int) -> int:
    """Operations of a GPT's forward pass over one row of `length` tokens, its logits at every position included."""
    return config.n_layers * block_flops(config, length) + 2 * length * config.d_model * config.vocab_size


def step_flops(config: TransformerConfig, rows: int, length: int, recompute: bool = False) -> int:
    """Operations of forward and backward over `rows` rows: a product needs two more for its gradients.

    Recomputation runs every block's forward pass a second time, up to its last product, whose output nobody needs.
    Source: Kaplan et al. 2020, section 2.1; Chen et al. 2016, section 4 for recomputation.
    """
    last = 2 * length * config.d_model * config.width_ff
    again = config.n_layers * (block_flops(config, length) - last) if recompute else 0
    return rows * (3 * forward_flops(config, length) + again)


def utilization(tokens_per_second: float, config: TransformerConfig, length: int, peak: float) -> float:
    """Model FLOPs utilization: the operations that the model needs each second, as a share of the machine's `peak`.

    Recomputed operations do not count: they are no progress. Raises: ValueError for a peak that is not above 0.
    Source: Chowdhery et al. 2022, "PaLM", section 4.1 and appendix B.
    """
    if not peak > 0:
        raise ValueError(f"utilization: expected a peak above 0 FLOP a second, got {peak}; measure it first")
    return tokens_per_second * step_flops(config, 1, length) / length / peak


@dataclass(frozen=True)
class Memory:
    """Bytes that one device holds in a training step."""

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All four together."""
        return self.parameters + self.gradients + self.optimizer + self.activations


def activation_bytes(
    config: TransformerConfig, rows: int, length: int, precision: str = "fp32", recompute: bool = False
) -> int:
    """Bytes that autograd keeps from forward to backward, for GPT-2's block, our loss and PyTorch's fused attention.

    In fp32 a block keeps 8 ND + 2 NF + N (H + 4) numbers. In bf16 autocast residuals and statistics stay in fp32, the
    rest is halved, the normed input is cast once for each of its three readers, and bf16 copies of the weights are
    kept. With `recompute` a block keeps its input alone. On a GPU other kernels keep a little more or less.
    Raises: ValueError for another block or precision.
    """
    _check_block(config, precision)
    N, D = rows * length, config.d_model
    inside = N * D * 4 if recompute else block_activation_bytes(config, rows, length, precision)
    weights = 0
    if precision == "bf16":
        copies = 0 if recompute else config.n_layers * (4 * D * D + 2 * D * config.width_ff)
        weights = 2 * (copies + D * config.vocab_size)
    narrow = 2 if precision == "bf16" else 4
    end = N * D * (4 + narrow) + 8 * N  # the last norm: its input, its output, mean and deviation
    loss = 4 * N * config.vocab_size + 4 * math.ceil(N / LOSS_CHUNK)
    return config.n_layers * inside + weights + end + loss + 16 * N  # 16: input ids and targets


def block_activation_bytes(config: TransformerConfig, rows: int, length: int, precision: str = "fp32") -> int:
    """Bytes that one block keeps, copies of its weights not counted."""
    _check_block(config, precision)
    N, D, F = rows * length, config.d_model, config.width_ff
    statistics = 4 * N * (config.n_heads + 4)
    if precision == "bf16":
        return 8 * N * D + 2 * (8 * N * D + 2 * N * F) + statistics
    return 4 * (8 * N * D + 2 * N * F) + statistics


def _check_block(config: TransformerConfig, precision: str) -> None:
    """Refuse what the count of activations was not made for."""
    checks = {
        "norm": config.norm == "layer" and config.norm_position == "pre",
        "gated": not config.gated,
        "n_experts": not config.n_experts,
        "n_kv_heads": config.kv_heads == config.n_heads,
        "positions": config.positions == "learned",
        "dropout": config.dropout == 0,
        "bias": config.bias,
        "activation": config.activation in ("gelu", "gelu_tanh", "silu"),
    }
    problems = [f"{name}={getattr(config, name)!r}" for name, fits in checks.items() if not fits]
    if precision not in ("fp32", "bf16"):
        problems.append(f"precision={precision!r}")
    if problems:
        raise ValueError(
            f"activations: expected GPT-2's block without dropout in fp32 or bf16, got {', '.join(problems)}; "
            f"measure this one with saved_tensors_hooks"
        )


def memory(
    config: TransformerConfig,
    rows: int,
    length: int,
    precision: str = "fp32",
    recompute: bool = False,
    devices: int = 1,
    sharding: str = "nothing",
) -> Memory:
    """Bytes on one of `devices` copies trained with AdamW, `rows` rows on each: weights, gradients and moments in fp32.

    `sharding` names the last of optimizer, gradients, parameters that are cut up among the devices (ZeRO's stages 1 to
    3; "parameters" is FSDP). With recomputation, the block that is being recomputed is counted too.
    Raises: ValueError for an unknown sharding or less than one device.
    Source: Rajbhandari et al. 2020, "ZeRO", section 3.1 and figure 1.
    """
    if sharding not in SHARDINGS:
        raise ValueError(f"sharding: expected one of {SHARDINGS}, got {sharding!r}")
    if devices < 1 or rows < 1 or length < 1:
        raise ValueError(f"memory: expected at least 1, got devices={devices}, rows={rows}, length={length}")
    stage, P = SHARDINGS.index(sharding), parameters(config)
    share = [math.ceil(P / devices) if stage >= cut else P for cut in (3, 2, 1)]
    kept = activation_bytes(config, rows, length, precision, recompute)
    if recompute:
        kept += block_activation_bytes(config, rows, length, precision)
    return Memory(4 * share[0], 4 * share[1], 8 * share[2], kept)


@dataclass(frozen=True)
class Run:
    """A training run: how long, how much energy, how much money.

    `flops_per_second` is what one device reaches, `watts` what one draws with its share of the computer around it,
    `overhead` the data center's factor on top (power usage effectiveness, PUE).
    Raises: ValueError naming every number that is not above 0, or an overhead below 1.
    """

    flops: float
    devices: int
    flops_per_second: float
    watts: float = 400.0
    overhead: float = 1.1

    def __post_init__(self) -> None:
        wrong = [
            f"{name}={getattr(self, name)}"
            for name in ("flops", "devices", "flops_per_second", "watts")
            if not getattr(self, name) > 0
        ]
        if wrong or not self.overhead >= 1:
            raise ValueError(
                f"run: expected numbers above 0 and an overhead from 1, got {', '.join(wrong) or self.overhead}"
            )

    @property
    def days(self) -> float:
        """Days from start to end, without a pause."""
        return self.flops / (self.devices * self.flops_per_second) / SECONDS_A_DAY

    @property
    def device_hours(self) -> float:
        """Hours of all devices together: what is billed."""
        return 24 * self.days * self.devices

    @property
    def megawatt_hours(self) -> float:
        """Electrical energy drawn by the data center."""
        return self.device_hours * self.watts * self.overhead / 1e6

    def cost(self, price_per_hour: float) -> float:
        """Money for all device hours, in the price's currency."""
        return self.device_hours * price_per_hour


def training_flops(n_parameters: float, n_tokens: float) -> float:
    """The rule of thumb: 6 operations a parameter and token. Source: Kaplan et al. 2020, section 2.1."""
    return 6.0 * n_parameters * n_tokens


# Shapes as published: Radford et al. 2019, table 2; Brown et al. 2020, table 2.1.
GPT2 = TransformerConfig(50_257, 1024, 768, n_layers=12, n_heads=12)
GPT3 = TransformerConfig(50_257, 2048, 12_288, n_layers=96, n_heads=96)
