"""Properties for lab 11's capstone: a small GPT on real reviews, whose matrix products and gradients are in fp16."""

import contextlib
import functools
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from utils.checks.calls import NotYet
from utils.checks.properties import are_named, is_finite
from utils.data import corpora
from utils.models.transformer import GPT, TransformerConfig

BATCH_SIZE, LENGTH, N_STEPS = 16, 32, 250
WHOLE_STEP = 2**19  # tokens a step of GPT-2: 512 rows of 1,024
PEAK, WARMUP_STEPS, BETAS, MAX_NORM = 1e-2, 10, (0.9, 0.95), 1e-3
MARGIN = 0.1  # nats a byte that fp16 may lose against fp32
CHANCE = 2.95  # nats a byte: what no run reaches that hardly learns
STARTS = (1.0, 2.0**16, 2.0**40)  # scales to start with: far too small, usual, far too large
SECONDS = 120.0
CONFIG = TransformerConfig(vocab_size=256, context_length=LENGTH, d_model=32, n_layers=1, n_heads=2, tied=False)

# A training takes seconds, so its outcome is kept as long as the student's function lives, if it reached the target.
_REACHED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_SCALES: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()
_RESULTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # of one verdict, for its two properties


class _Rounded(torch.autograd.Function):
    """What fp16 keeps of a tensor, and in the backward pass of its gradient."""

    @staticmethod
    def forward(context, x: Tensor) -> Tensor:
        return x.half().float()

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return gradient.half().float()


class HalfProducts(TorchFunctionMode):
    """Matrix products whose inputs, results and gradients are rounded to fp16, and that add in fp32.

    This is what autocast does, at the speed of fp32: few CPUs multiply fp16 numbers themselves.
    """

    PRODUCTS = (F.linear, F.scaled_dot_product_attention, torch.matmul, torch.Tensor.matmul)

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        if function not in self.PRODUCTS:
            return function(*arguments, **named)
        rounded = [
            _Rounded.apply(one) if isinstance(one, Tensor) and one.is_floating_point() else one for one in arguments
        ]
        return _Rounded.apply(function(*rounded, **named))


@functools.cache
def text(split: str) -> Tensor:
    """The bytes of some real reviews, end to end: (N,)."""
    reviews = corpora.reviews("imdb", split).select(range(300))["text"][:]
    return torch.frombuffer(bytearray("\n\n".join(reviews).encode()), dtype=torch.uint8).long()


@functools.cache
def _model() -> GPT:
    """The model's form; the weights come from outside."""
    with torch.random.fork_rng(devices=[]):
        return GPT(CONFIG).requires_grad_(False)


def start(seed: int) -> dict[str, Tensor]:
    """The weights of a fresh model, in fp32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return {name: one.detach().clone() for name, one in GPT(CONFIG).named_parameters()}


def _loss(weights: dict[str, Tensor], rows: Tensor) -> Tensor:
    """Summed loss in nats of rows (B, T + 1)."""
    return functional_call(_model(), weights, (rows[:, :-1],), {"targets": rows[:, 1:]})


@dataclass
class Gradients:
    """The gradients of a run: called as `gradients_of(weights, scale, step)`, once a step, it gives those of scale
    times the loss, in fp16, by the weights' names. `scales` and `losses` grow with each call.

    With `exact`, everything is computed and returned in fp32.
    """

    seed: int
    exact: bool = False
    scales: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        places = torch.randint(len(text("train")) - LENGTH, (N_STEPS, BATCH_SIZE, 1), generator=generator)
        self.batches = text("train")[places + torch.arange(LENGTH + 1)]

    def __repr__(self) -> str:
        return "<the scaled fp16 gradients of mini-batches of reviews>"

    def __call__(self, weights: dict[str, Tensor], scale: float, step: int) -> dict[str, Tensor]:
        """Raises ValueError for weights that are not in fp32, and for a step out of range."""
        other = sorted({str(w.dtype) for w in weights.values()} - {"torch.float32"})
        if other:
            raise ValueError(f"expected the master weights, in fp32; got {', '.join(other)}")
        if not 0 <= step < N_STEPS or len(self.losses) == N_STEPS:
            raise ValueError(
                f"expected each step from 0 to {N_STEPS - 1} once, got step {step} in call {len(self.losses) + 1}"
            )
        leaves = {name: w.detach().clone().requires_grad_() for name, w in weights.items()}
        with torch.enable_grad(), contextlib.nullcontext() if self.exact else HalfProducts():
            loss = _loss(leaves, self.batches[step])
            found = torch.autograd.grad(loss * (float(scale) / WHOLE_STEP), list(leaves.values()))
        self.scales.append(float(scale))
        self.losses.append(loss.item() / (BATCH_SIZE * LENGTH))
        dtype = torch.float32 if self.exact else torch.float16
        return {name: gradient.to(dtype) for name, gradient in zip(leaves, found, strict=True)}


@torch.no_grad()
def held_out(weights: dict[str, Tensor]) -> float:
    """Nats a byte on held-out reviews, in fp32."""
    whole = text("validation")
    rows = whole[: len(whole) // (LENGTH + 1) * (LENGTH + 1)].view(-1, LENGTH + 1)[::4]
    return _loss(weights, rows).item() / (len(rows) * LENGTH)


def rates() -> list[float]:
    """The learning rate of each step: a warm-up, then half a cosine."""
    steps = range(N_STEPS)
    return [PEAK * min((step + 1) / WARMUP_STEPS, (1 + math.cos(math.pi * step / N_STEPS)) / 2) for step in steps]


@functools.cache
def reference(seed: int) -> float:
    """The held-out loss of the same run in fp32, by PyTorch: the same start, batches, rates and clipping."""
    parameters = {name: torch.nn.Parameter(w) for name, w in start(seed).items()}
    optimizer, gradients_of = torch.optim.AdamW(parameters.values(), betas=BETAS), Gradients(seed, exact=True)
    for step, rate in enumerate(rates()):
        for name, gradient in gradients_of(parameters, 1.0, step).items():
            parameters[name].grad = gradient
        torch.nn.utils.clip_grad_norm_(parameters.values(), MAX_NORM)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return held_out(parameters)


def _run(draw) -> int:
    """Which of the three runs a draw makes: the rounds of one check make each once."""
    return draw.seed % len(STARTS)


def _trained(answer, draw) -> dict[str, Tensor]:
    """The weights that the student's function returns for this draw's run."""
    run, done = _run(draw), _RESULTS.setdefault(answer, {})
    if run not in done:
        weights = start(run)
        answer.seconds = SECONDS
        gradients_of = Gradients(run)
        _SCALES.setdefault(answer.function, {})[run] = gradients_of.scales
        done[run] = are_named(
            answer(weights, gradients_of, STARTS[run], rates()),
            {name: w.shape for name, w in weights.items()},
            problem="The result does not have the weights' names.",
            hint="Return the new weights under their old names.",
            shape_hint="A step keeps the shape.",
        )
    return done[run]


def _held_out(answer, draw) -> float:
    """The held-out loss of the student's weights; a run that reached the target is not made again."""
    kept = _REACHED.setdefault(answer.function, {})
    run = _run(draw)
    if run not in kept:
        trained = _trained(answer, draw)
        for name, w in trained.items():
            is_finite(
                w,
                problem=f"After training, `{name}` holds NaN or infinity.",
                hint="A step was taken with gradients that had overflowed. Skip it.",
            )
        loss = held_out({name: w.float() for name, w in trained.items()})
        if loss > reference(run) + MARGIN:
            return loss
        kept[run] = loss
    return kept[run]


def scales_of(function: Callable) -> list[list[float]]:
    """The scales, attempt by attempt, of the runs that a student's function made in its latest check.

    Raises: ValueError when there is none.
    """
    if function not in _SCALES:
        raise ValueError("expected a function whose check has trained a model, got another; run the check first")
    return [scales for _, scales in sorted(_SCALES[function].items())]


def train_shapes(answer, draw):
    """All weights come back, after at most the steps allowed."""
    if _run(draw) not in _REACHED.get(answer.function, {}):
        _trained(answer, draw)


def _facts(draw, expected: str, loss: float) -> dict[str, str]:
    scale = f"2^{math.log2(STARTS[_run(draw)]):.0f}"
    return {"first scale": scale, "expected": expected, "got": f"{loss:.3f} nats per held-out byte"}


def train_learns(answer, draw):
    """The held-out loss is well below that of a model that learns hardly anything."""
    loss = _held_out(answer, draw)
    if loss > CHANCE:
        hints = {
            1.0: "With a scale of 1, most gradients are too small for fp16. The scale must grow, within a few steps.",
            2.0**40: "With a scale of 2^40 all gradients overflow. Skip those steps, and halve the scale each time.",
        }
        raise NotYet(
            "The model has hardly learned anything.",
            _facts(draw, f"at most {CHANCE}", loss),
            hints.get(
                STARTS[_run(draw)],
                "Take one step for each good batch: unscale, clip, set the rate, step. Return the new weights.",
            ),
        )


def train_target(answer, draw):
    """The held-out loss is as good as fp32's, up to the margin."""
    run = _run(draw)
    loss = _held_out(answer, draw)
    if loss > reference(run) + MARGIN:
        raise NotYet(
            "It learns, but not as well as in fp32.",
            _facts(draw, f"at most {reference(run):.3f} + {MARGIN}", loss),
            "Too many batches went by before the scale fitted, or it does not grow back: "
            "try a growth interval of 3 to 20, and the rates and betas of the task.",
        )
    return (
        f"From a scale of 2^{math.log2(STARTS[run]):.0f}: {loss:.3f} nats per held-out byte, "
        f"in fp32 {reference(run):.3f}."
    )
