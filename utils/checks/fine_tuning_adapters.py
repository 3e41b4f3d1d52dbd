"""Properties for lab 08: freezing and counting parameters, and LoRA."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.checks.calls import NotYet, describe
from utils.checks.properties import are_results, is_equal, is_tensor
from utils.models.adapters import LoRAConfig, LoRALinear

TOLERANCE = 1e-10

# Exercise 4: freezing and counting


class Small(nn.Module):
    """A small model: word vectors that also make the output (one tensor, two names), two blocks and a head."""

    def __init__(self, n_words: int, width: int, n_classes: int):
        super().__init__()
        self.words = nn.Embedding(n_words, width)
        self.blocks = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])
        self.output = nn.Linear(width, n_words, bias=False)
        self.output.weight = self.words.weight
        self.head = nn.Linear(width, n_classes)

    def __repr__(self) -> str:
        names = ", ".join(f"{name} {tuple(one.shape)}" for name, one in self.named_parameters())
        return f"<a model with {names}>"

    def forward(self, ids: Tensor) -> Tensor:
        """A number that depends on every parameter."""
        x = self.words(ids)
        for block in self.blocks:
            x = block(x).tanh()
        return self.output(x).square().mean() + self.head(x).square().mean()


def _model(draw) -> tuple[Small, tuple[str, ...]]:
    """A model in which some parameters are frozen already, and the beginnings of the names to train."""
    n_words, width, n_classes = draw.sizes(3, of=(3, 5, 7, 11))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.seed)
        model = Small(n_words, width, n_classes)
    model.head.requires_grad_(False)
    model.words.requires_grad_(bool(draw.number(0, 1)))
    return model, ("head.", f"blocks.{draw.number(0, 1)}.")


def _counted(answer, model: Small, prefixes: tuple[str, ...]) -> tuple[int, int]:
    counts = are_results(answer(model, prefixes), 2, "trained, total")
    for one in counts:
        if isinstance(one, bool) or not isinstance(one, int):
            raise NotYet(
                "A count is not a whole number.",
                {"expected": "two whole numbers", "got": describe(one)},
                "`parameter.numel()` counts the numbers of one tensor.",
            )
    return counts


def _moved(model: Small) -> set[str]:
    """The names of the parameters that a step of gradient descent changes."""
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = model(torch.arange(3))
    if loss.requires_grad:
        loss.backward()
        optimizer.step()
    return {name for name, parameter in model.named_parameters() if not torch.equal(before[name], parameter)}


def freeze_numbers(answer, draw):
    """Two whole numbers."""
    _counted(answer, *_model(draw))


def freeze_moves(answer, draw):
    """A step moves the parameters that are named, and no others."""
    model, prefixes = _model(draw)
    _counted(answer, model, prefixes)
    moved = _moved(model)
    expected = {name for name, _ in model.named_parameters() if name.startswith(prefixes)}
    if moved == expected:
        return
    facts = {"expected": f"only {sorted(expected)} move", "got": f"{sorted(moved) or 'nothing'} moved"}
    if not moved:
        hint = "Nothing is trained. `requires_grad` is True for what is to be trained."
    elif moved.isdisjoint(expected):
        hint = "It is the other way round: what is named is trained."
    elif moved < expected:
        hint = (
            "Some of what is named was frozen before. Set `requires_grad` both ways: True for these, False for those."
        )
    else:
        hint = "Something that is not named is still trained: set its `requires_grad` to False."
    raise NotYet("A step of training moves the wrong parameters.", facts, hint)


def freeze_counts(answer, draw):
    """Both counts are right; a tensor with two names counts once."""
    model, prefixes = _model(draw)
    got = _counted(answer, model, prefixes)
    named = dict(model.named_parameters())
    sizes = {name: nn.utils.parameters_to_vector([one]).numel() for name, one in named.items()}
    trained = sum(size for name, size in sizes.items() if name.startswith(prefixes))
    total = sum(sizes.values())
    twice, frozen = total + sizes["words.weight"], total - trained
    tensors = sum(name.startswith(prefixes) for name in sizes)
    slips = {
        (trained, twice): "The word vectors serve two layers under two names. They are one tensor: count it once.",
        (trained, frozen): "The second number is that of all parameters, not of the frozen ones.",
        (frozen, total): "The first number is that of the trained parameters, not of the frozen ones.",
        (tensors, len(sizes)): "These are numbers of tensors. Count the numbers in them.",
        (total, trained): "The two counts have changed places.",
    }
    if tuple(got) != (trained, total):
        raise NotYet(
            "The counts are wrong.",
            {"expected": f"{trained} trained of {total}", "got": f"{got[0]} of {got[1]}"},
            slips.get(tuple(got), "Add up `parameter.numel()`, once for what is trained, once for everything."),
        )


# Exercise 5: LoRA


def _adapted(draw) -> tuple[Tensor, LoRALinear, float]:
    """An input (B, T, D_in), a LoRA layer in fp64 with an adapter that does something, and its alpha."""
    d_in, d_out, rank, batch_size = draw.sizes(4, of=(2, 3, 5, 7, 11))
    alpha = float(draw.number(1, 4) * rank + 1)  # alpha / rank is never 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draw.seed)
        layer = LoRALinear(nn.Linear(d_in, d_out).double(), LoRAConfig(rank=rank, alpha=alpha)).double()
        nn.init.normal_(layer.A)
        nn.init.normal_(layer.B)
    return draw.normal(batch_size, 3, d_in, dtype=torch.float64), layer.requires_grad_(False), alpha


def _output(answer, x: Tensor, layer: LoRALinear, alpha: float) -> Tensor:
    shape = (*x.shape[:-1], len(layer.B))
    got = answer(x, layer.base.weight.data, layer.base.bias.data, layer.A.data, layer.B.data, alpha)
    return is_tensor(
        got,
        shape,
        name="the output",
        letters="(B, T, D_out)",
        hint="Weights are kept as (out, in), as in nn.Linear: a layer is x @ weight.T + bias.",
    )


def lora_shape(answer, draw):
    """The output has the layer's width."""
    _output(answer, *_adapted(draw))


def lora_start(answer, draw):
    """With B = 0, the output is the plain layer's."""
    x, layer, alpha = _adapted(draw)
    layer.B.zero_()
    weight, bias = layer.base.weight, layer.base.bias
    is_equal(
        _output(answer, x, layer, alpha),
        F.linear(x, weight, bias),
        tolerance=TOLERANCE,
        problem="With B = 0, the output is not that of the layer itself.",
        hint="The adapter's part is added to the layer's own output, x @ weight.T + bias.",
        slips={
            "The bias is missing.": F.linear(x, weight),
            "The layer itself is missing: this is the adapter's part alone.": torch.zeros_like(F.linear(x, weight)),
            "The layer was scaled as well. The scale belongs to the adapter's part alone.": layer.scale
            * F.linear(x, weight, bias),
        },
    )


def lora_library(answer, draw):
    """Equal to the course's LoRALinear, which is tested against its formula."""
    x, layer, alpha = _adapted(draw)
    expected, plain = layer(x), layer.base(x)
    change = (expected - plain) / layer.scale  # x A^T B^T
    worst = is_equal(
        _output(answer, x, layer, alpha),
        expected,
        tolerance=TOLERANCE,
        problem="The output is not that of the LoRA layer.",
        hint="First down to the rank with A, then up again with B, then times alpha over the rank.",
        slips={
            "The scale is missing: the adapter's part is multiplied by alpha / rank.": plain + change,
            "The adapter's part was multiplied by alpha, not by alpha / rank.": plain + alpha * change,
            "The scale is upside down: it is alpha / rank.": plain + change / layer.scale,
            "The adapter has no effect.": plain,
            "The rank is the number of rows of A, not its columns.": plain + alpha / layer.A.shape[1] * change,
        },
    )
    return f"Largest difference: {worst:.1e}."


def _merged(answer, layer: LoRALinear, alpha: float) -> Tensor:
    weight = layer.base.weight.data
    return is_tensor(
        answer(weight, layer.A.data, layer.B.data, alpha),
        weight.shape,
        name="the merged weight",
        letters="(D_out, D_in)",
        hint="B is (D_out, rank) and A is (rank, D_in). In which order do they fit?",
    )


def merge_shape(answer, draw):
    """The shape stays."""
    _, layer, alpha = _adapted(draw)
    _merged(answer, layer, alpha)


def merge_library(answer, draw):
    """A plain layer with the merged weight gives the adapted layer's output."""
    x, layer, alpha = _adapted(draw)
    expected, weight, bias = layer(x), layer.base.weight, layer.base.bias
    product = layer.change() / layer.scale
    candidates = {
        "The scale is missing: alpha / rank.": weight + product,
        "The change was multiplied by alpha, not by alpha / rank.": weight + alpha * product,
        "This is the change alone. Add it to the weight.": layer.change(),
        "The change was subtracted: that is how one would take it out again.": weight - layer.change(),
        "The weight is as it was.": weight,
    }
    worst = is_equal(
        F.linear(x, _merged(answer, layer, alpha), bias),
        expected,
        tolerance=TOLERANCE,
        problem="With the merged weight, a plain layer gives another output.",
        hint="The weight plus alpha / rank times B A.",
        slips={why: F.linear(x, value, bias) for why, value in candidates.items()},
    )
    return f"Largest difference: {worst:.1e}."
