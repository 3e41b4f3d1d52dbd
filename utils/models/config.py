"""The configuration of a Transformer: one set of sizes and options, from BERT and GPT-2 to Llama and Mixtral."""

import dataclasses
from dataclasses import dataclass

import torch.nn.functional as F

ACTIVATIONS = {
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
}


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes and options of a Transformer; checked whole, all problems in one message.

    The defaults are GPT-2's block. `n_layers` is the depth of a stack: an encoder-decoder has as many in each half.
    `gated` makes the feed-forward layer a gated one (SwiGLU with the activation "silu"), `n_experts` above 0 a mixture
    of so many of them, of which each token uses `experts_per_token`. `bias` False takes the biases from all linear
    layers and layer norms. `tied` uses the token embeddings as output layer too.

    Raises: ValueError naming every field that does not fit.
    """

    vocab_size: int
    context_length: int = 512
    d_model: int = 256
    n_layers: int = 6
    n_heads: int = 4
    n_kv_heads: int | None = None
    d_ff: int | None = None
    n_segments: int = 0
    dropout: float = 0.0
    activation: str = "gelu_tanh"
    norm_position: str = "pre"
    norm_epsilon: float = 1e-5
    positions: str = "learned"
    norm: str = "layer"
    rotary_base: float = 10_000.0
    gated: bool = False
    bias: bool = True
    tied: bool = True
    n_experts: int = 0
    experts_per_token: int = 2

    def __post_init__(self) -> None:
        problems = self._problems_of_sizes() + self._problems_of_options()
        if problems:
            raise ValueError("TransformerConfig: expected in brackets, got " + "; ".join(problems))

    def _problems_of_sizes(self) -> list[str]:
        """Sizes that are no whole numbers, or do not divide each other."""
        sizes = ("vocab_size", "context_length", "d_model", "n_layers", "n_heads")
        problems = [
            f"{name}={getattr(self, name)} (a whole number from 1)"
            for name in sizes
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1
        ]
        if not problems and self.d_model % self.n_heads:
            problems.append(f"n_heads={self.n_heads} (a divisor of d_model={self.d_model})")
        if not problems and (self.n_heads % self.kv_heads if self.kv_heads > 0 else True):
            problems.append(f"n_kv_heads={self.n_kv_heads} (a divisor of n_heads={self.n_heads})")
        if not problems and self.positions == "rotary" and self.d_model // self.n_heads % 2:
            problems.append(f"n_heads={self.n_heads} (an even d_model / n_heads for rotary positions)")
        if self.d_ff is not None and (not isinstance(self.d_ff, int) or self.d_ff < 1):
            problems.append(f"d_ff={self.d_ff} (a whole number from 1)")
        for name in ("n_segments", "n_experts"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                problems.append(f"{name}={getattr(self, name)} (a whole number from 0)")
        if self.n_experts and not 1 <= self.experts_per_token <= self.n_experts:
            problems.append(f"experts_per_token={self.experts_per_token} (from 1 to n_experts={self.n_experts})")
        return problems

    def _problems_of_options(self) -> list[str]:
        """Options that are unknown or out of range."""
        problems = []
        if not 0.0 <= self.dropout < 1.0:
            problems.append(f"dropout={self.dropout} (from 0 to below 1)")
        if not self.rotary_base > 1:
            problems.append(f"rotary_base={self.rotary_base} (a number above 1)")
        for name, known in (
            ("activation", tuple(ACTIVATIONS)),
            ("norm_position", ("pre", "post")),
            ("positions", ("learned", "rotary")),
            ("norm", ("layer", "rms")),
        ):
            if getattr(self, name) not in known:
                problems.append(f"{name}={getattr(self, name)!r} (one of {known})")
        return problems

    @property
    def kv_heads(self) -> int:
        """Number of key-value heads; as many as query heads unless set."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def width_ff(self) -> int:
        """Width of the feed-forward layer. Unless set, four times d_model; when gated, two thirds of that, so that its
        three matrices hold what the two of a plain one hold (Shazeer 2020, section 2).
        """
        if self.d_ff is not None:
            return self.d_ff
        return 8 * self.d_model // 3 if self.gated else 4 * self.d_model

    def to_dict(self) -> dict:
        """The fields as a plain dictionary, for a JSON file."""
        return dataclasses.asdict(self)
