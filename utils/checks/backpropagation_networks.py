"""Properties for lab 03: a whole network, numeric gradients, first weights, and training on reviews."""

import functools
import itertools

import torch
import torch.nn.functional as F

from utils.checks.backpropagation_layers import EXACT
from utils.checks.calls import NotYet
from utils.checks.properties import are_named, are_results, is_equal, is_tensor
from utils.data import corpora

PARTS = ("W1", "b1", "W2", "b2")
N_WORDS, N_TRAIN, N_TEST, D_HIDDEN = 800, 2000, 1000, 16
LEARNED, TARGET = 0.75, 0.72  # shares of right reviews: of those to learn from, of held-out ones


def logits_of(weights, x):
    """The lab's network: one hidden layer of ReLUs. x (B, D) -> (B, K)."""
    return F.linear(F.linear(x, weights["W1"], weights["b1"]).relu(), weights["W2"], weights["b2"])


def _is_weights(got, shapes, name):
    """The dictionary `got`, detached, if it has tensors of these names and shapes."""
    return are_named(
        got, shapes, problem=f"{name} must be a dictionary with the keys {', '.join(shapes)}.", of=f" of {name}",
        hint="Give back what you were given: the same names, new tensors.",
        shape_hint="A gradient, or a new weight, has the shape of the weight. Weights are kept as (out, in).",
    )


# Exercise 4: a whole network


def _network(answer, draw):
    batch_size, d_in, d_hidden, n_classes = draw.sizes(4, of=(3, 5, 7, 11))
    shapes = dict(W1=(d_hidden, d_in), b1=(d_hidden,), W2=(n_classes, d_hidden), b2=(n_classes,))
    weights = {name: draw.normal(*shape, dtype=torch.float64) for name, shape in shapes.items()}
    x = draw.normal(batch_size, d_in, dtype=torch.float64)
    targets = torch.randint(n_classes, (batch_size,), generator=draw.generator)
    loss, gradients = are_results(answer(x, targets, weights), 2, "loss, gradients")
    loss = is_tensor(loss, (), name="the loss", hint="The mean over the batch, a tensor without axes.")
    leaves = {name: one.clone().requires_grad_() for name, one in weights.items()}
    expected = F.cross_entropy(logits_of(leaves, x), targets)
    found = dict(zip(PARTS, torch.autograd.grad(expected, list(leaves.values())), strict=True))
    return loss, _is_weights(gradients, shapes, "the gradients"), expected.detach(), found, (x, targets, weights)


def gradients_shape(answer, draw):
    """A loss and four gradients."""
    _network(answer, draw)


def gradients_loss(answer, draw):
    """Equal to PyTorch's loss in fp64."""
    loss, _, expected, _, (x, targets, weights) = _network(answer, draw)
    hidden = F.linear(x, weights["W1"], weights["b1"])
    linear = F.linear(hidden, weights["W2"], weights["b2"])
    is_equal(loss, expected, tolerance=EXACT, problem="The loss is not the network's.",
             hint="Linear layer, ReLU, linear layer, then the mean of minus the log-probability of the right class.",
             slips={"That is the sum over the batch, not the mean.": expected * len(x),
                    "The ReLU after the hidden layer is missing.": F.cross_entropy(linear, targets),
                    "The last layer has no ReLU: its z are the logits.":
                        F.cross_entropy(logits_of(weights, x).relu(), targets)})


def gradients_output(answer, draw):
    """W2 and b2: equal to autograd's."""
    _, got, _, expected, (x, _, weights) = _network(answer, draw)
    for name in ("W2", "b2"):
        is_equal(got[name], expected[name], tolerance=EXACT, problem=f"The gradient by {name} is wrong.",
                 hint="This is exercise 3, then exercise 2: the layer takes in what the hidden one puts out.",
                 slips={"The loss is a mean: divide by the batch size once.": expected[name] * len(x)})


def gradients_hidden(answer, draw):
    """W1 and b1: equal to autograd's."""
    _, got, _, expected, (x, targets, weights) = _network(answer, draw)
    slope_missing = _without_slope(x, targets, weights)
    worst = 0.0
    for name in ("W1", "b1"):
        worst = max(worst, is_equal(
            got[name], expected[name], tolerance=EXACT, problem=f"The gradient by {name} is wrong.",
            hint="Take the gradient by the output layer's inputs, multiply by ReLU's slope at the hidden layer's own "
                 "z, and go through a linear layer once more.",
            slips={"The slope of ReLU is missing on the way back.": slope_missing[name],
                   "The gradient was divided by the batch size twice.": expected[name] / len(x),
                   "The sign is turned round.": -expected[name]}))
    return f"Largest difference to autograd: {worst:.1e}."


def _without_slope(x, targets, weights):
    """The hidden layer's gradients as they come out when ReLU's slope is taken for 1 (for their hint alone)."""
    leaves = {name: weights[name].clone().requires_grad_() for name in ("W1", "b1")}
    z = F.linear(x, leaves["W1"], leaves["b1"])
    straight = z + (z.relu() - z).detach()  # the value of ReLU with the slope 1
    loss = F.cross_entropy(F.linear(straight, weights["W2"], weights["b2"]), targets)
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


# Exercise 5: numeric gradients


def _numeric(answer, draw, function):
    x = draw.normal(*draw.sizes(2, of=(2, 3, 5)), dtype=torch.float64)
    got = is_tensor(answer(function, x), x.shape, name="the gradient", hint="One slope for each entry of x.")
    point = x.clone().requires_grad_()
    return got, torch.autograd.grad(function(point), point)[0], x


def numeric_shape(answer, draw):
    """The shape of x."""
    _numeric(answer, draw, torch.sum)


def numeric_straight(answer, draw):
    """The slopes of a linear function, within 1e-8."""
    slopes = draw.normal(30, dtype=torch.float64)
    got, expected, _ = _numeric(answer, draw, lambda x: (slopes[: x.numel()] * x.flatten()).sum())
    is_equal(got, expected, tolerance=1e-8, problem="The slopes of a straight function are wrong.",
             hint="Change one entry alone, by a small step h, and see by how much the function changes for each unit "
                  "of h. A step below 1e-8 drowns in rounding.",
             slips={"From x - h to x + h it is a way of 2 h.": 2 * expected,
                    "One step of h is a way of h; only from x - h to x + h is it 2 h.": expected / 2,
                    "The sign is turned round.": -expected})


def numeric_curved(answer, draw):
    """The slopes of a curved function, within 1e-8."""
    shift = draw.normal(30, dtype=torch.float64)

    def curved(x):
        flat = x.flatten() + shift[: x.numel()]
        return (2 * torch.sin(flat) + flat**2).sum() + torch.tanh(flat).prod()

    got, expected, _ = _numeric(answer, draw, curved)
    worst = is_equal(got, expected, tolerance=1e-8, problem="The slopes of a curved function are not right enough.",
                     hint="Step to both sides: the errors of f(x + h) and f(x - h) then cancel up to the square of h. "
                          "In fp64 an h of about 1e-5 is a good choice.")
    return f"Largest difference to autograd: {worst:.1e}."


# Exercise 6: the first weights


def _first(answer, widths, seed):
    got = answer(widths, torch.Generator().manual_seed(seed))
    shapes = {}
    for number, (d_in, d_out) in enumerate(itertools.pairwise(widths), start=1):
        shapes |= {f"W{number}": (d_out, d_in), f"b{number}": (d_out,)}
    return _is_weights(got, shapes, "the weights")


def he_shape(answer, draw):
    """Shapes for networks of any depth; biases 0."""
    got = _first(answer, tuple(draw.sizes(draw.number(2, 5))), draw.seed)
    for name in [name for name in got if name.startswith("b")]:
        is_equal(got[name], torch.zeros_like(got[name]), problem=f"{name} is not 0.", hint="Biases begin at 0.")


def he_variance(answer, draw):
    """Mean 0 and variance 2 / in, within three percent, for matrices of 60,000 entries and more."""
    widths = tuple(draw.sizes(3, of=(200, 300, 450)))
    got = _first(answer, widths, draw.seed)
    for name, d_in, d_out in (("W1", widths[0], widths[1]), ("W2", widths[1], widths[2])):
        W = got[name].double()
        variance, expected = W.var().item(), 2 / d_in
        slips = {1 / d_in: "1 / in suits tanh. ReLU halves the mean square, so the variance is doubled.",
                 (2 / d_in) ** 2: "2 / in is the variance. The deviation is its root.",
                 2 / d_out: "Count what goes into a neuron (in), not how many neurons there are.",
                 2 / (d_in + d_out): "That is Xavier's variance; He's counts the inputs alone.",
                 expected / 3: "Uniform numbers between -a and a have the variance a² / 3.",
                 1.0: "Standard normal numbers are not scaled yet."}
        hint = next((why for value, why in slips.items() if abs(variance / value - 1) < 0.03), "")
        if not abs(variance / expected - 1) < 0.03:
            raise NotYet(f"{name} does not have He's variance.",
                         {"expected": f"{expected:.5f}, for {d_in} inputs", "got": f"{variance:.5f}"},
                         hint or "The variance is 2 / in, with in the number of columns.")
        if not abs(W.mean().item()) < 5 * (expected / W.numel()) ** 0.5:
            raise NotYet(f"The mean of {name} is not 0.", {"got": f"{W.mean().item():.5f}"},
                         "Draw from a distribution around 0: torch.rand alone starts at 0.")


def he_generator(answer, draw):
    """Equal for equal seeds, different for others; the global generator is left alone."""
    widths = tuple(draw.sizes(3))
    first, again, other = (_first(answer, widths, seed) for seed in (draw.seed, draw.seed, draw.seed + 1))
    if not all(torch.equal(first[name], again[name]) for name in first):
        raise NotYet("The same seed gave other weights.", {}, "Hand the generator on: torch.randn(..., "
                     "generator=generator).")
    if torch.equal(first["W1"], other["W1"]):
        raise NotYet("Another seed gave the same weights.", {}, "Use the generator that you were given, as it is.")
    if torch.equal(first["W1"].flatten()[:4], first["W2"].flatten()[:4]):
        raise NotYet("Two layers begin with the same numbers.", {}, "Draw on from the generator; do not seed it anew.")


# Capstone: training


@functools.cache
def review_bags(split, n, n_words=N_WORDS):
    """Real IMDB reviews as bags of words: x (n, n_words) of zeros and ones, targets (n,), and the words.

    The words are the most frequent ones of 4,000 training reviews.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    rows = {name: corpora.reviews("imdb", name).shuffle(seed=3) for name in {"train", split}}
    counter = CountVectorizer(binary=True, max_features=n_words, token_pattern=r"\w+")
    counter.fit(rows["train"][:4000]["text"])
    chosen = rows[split][:n]
    x = torch.from_numpy(counter.transform(chosen["text"]).toarray()).float()
    return x, torch.tensor(chosen["label"]), counter.get_feature_names_out().tolist()


def _trained(answer, draw, n):
    """The weights after the student's training on n reviews drawn at random, and these reviews."""
    x, targets, _ = review_bags("train", 4000)
    rows = torch.randperm(len(x), generator=draw.generator)[:n]
    shapes = dict(W1=(D_HIDDEN, N_WORDS), b1=(D_HIDDEN,), W2=(2, D_HIDDEN), b2=(2,))
    weights = {name: draw.normal(*shape) * (2 / shape[-1]) ** 0.5 if len(shape) == 2 else torch.zeros(shape)
               for name, shape in shapes.items()}
    got = _is_weights(answer(x[rows], targets[rows], weights), shapes, "the trained weights")
    for name, one in got.items():
        if not torch.isfinite(one).all():
            raise NotYet(f"{name} is no longer finite.", {}, "The steps are too large: lower the learning rate.")
    return got, weights, x[rows], targets[rows]


def _share_right(weights, x, targets):
    return (logits_of(weights, x).argmax(-1) == targets).float().mean().item()


def train_moves(answer, draw):
    """Shapes as before; no layer stands still."""
    got, weights, *_ = _trained(answer, draw, 200)
    for name in PARTS:
        if torch.equal(got[name], weights[name]):
            raise NotYet(f"{name} did not move.", {}, "Subtract the learning rate times the gradient from every "
                         "tensor, and keep the result for the next step.")


def train_learns(answer, draw):
    """At least 75 % of the training reviews."""
    got, weights, x, targets = _trained(answer, draw, N_TRAIN)
    right, loss = _share_right(got, x, targets), F.cross_entropy(logits_of(got, x), targets).item()
    before = F.cross_entropy(logits_of(weights, x), targets).item()
    if right < LEARNED:
        hint = "Lower the learning rate, or take more steps. Look at the loss every few steps: it must fall."
        if loss > before:
            hint = ("The loss has grown. Are the steps taken against the gradient? If so, they are too large: lower "
                    "the learning rate, and see that the gradient is that of the mean loss.")
        raise NotYet(f"Only {right:.0%} of the reviews it learned from are right.",
                     {"target": f"{LEARNED:.0%}", "loss": f"{before:.3f} before, {loss:.3f} after training"}, hint)


def train_target(answer, draw):
    """At least 72 % of 1,000 held-out reviews."""
    got, *_ = _trained(answer, draw, N_TRAIN)
    x, targets, _ = review_bags("test", N_TEST)
    right = _share_right(got, x, targets)
    if right < TARGET:
        raise NotYet(f"Only {right:.1%} of the held-out reviews are right.", {"target": f"{TARGET:.0%}"},
                     "It learned the training reviews, these less so: small batches, and fewer or smaller steps, help.")
    return f"{right:.1%} of {N_TEST:,} held-out reviews are right (target: at least {TARGET:.0%})."
