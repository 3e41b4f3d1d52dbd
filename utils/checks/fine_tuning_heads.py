"""Properties for lab 08: padding, pooling, the head and its loss, and the interval of an accuracy."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from utils.checks.calls import NotYet, describe
from utils.checks.properties import are_results, is_bool, is_equal, is_finite, is_tensor

# Exercise 1: a batch with padding


def _sequences(draw) -> tuple[list[list[int]], int]:
    """Token ids of different lengths, and the padding's id, which is also a real token in each sequence."""
    pad_id = draw.number(3, 9)
    sequences = [[draw.number(10, 99) for _ in range(length)] for length in draw.sizes(draw.number(3, 4))]
    for sequence in sequences:
        sequence[draw.number(0, len(sequence) - 1)] = pad_id
    return sequences, pad_id


def _padded(answer, sequences: list[list[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    ids, mask = are_results(answer(sequences, pad_id), 2, "input_ids, attention_mask")
    shape = len(sequences), max(map(len, sequences))
    ids = is_tensor(ids, shape, name="`input_ids`", letters="(B, T)", hint="T is the length of the longest sequence.")
    mask = is_tensor(mask, shape, name="`attention_mask`", letters="(B, T)", hint="It has the shape of `input_ids`.")
    if ids.dtype != torch.int64:
        raise NotYet(
            "`input_ids` are not whole numbers.",
            {"expected": "dtype int64", "got": describe(ids)},
            "An embedding looks up rows by whole numbers. `torch.full` and `torch.tensor` take a dtype.",
        )
    return ids, is_bool(mask, name="`attention_mask`")


def _rectangle(sequences: list[list[int]], value: int, side: str = "right") -> Tensor:
    rows = [torch.tensor(sequence) for sequence in sequences]
    return pad_sequence(rows, batch_first=True, padding_value=value, padding_side=side)


def pad_shapes(answer, draw):
    """Two rectangles of the right type."""
    _padded(answer, *_sequences(draw))


def pad_ids(answer, draw):
    """The ids equal those of PyTorch's pad_sequence."""
    sequences, pad_id = _sequences(draw)
    is_equal(
        _padded(answer, sequences, pad_id)[0],
        _rectangle(sequences, pad_id),
        problem="The ids are wrong.",
        hint="Each row begins with its own tokens; the rest is `pad_id`.",
        slips={
            "The padding is on the left. Here it comes after the tokens.": _rectangle(sequences, pad_id, "left"),
            "The rows are filled with 0, not with `pad_id`.": _rectangle(sequences, 0),
        },
    )


def pad_mask(answer, draw):
    """The mask is True at each sequence's own tokens."""
    sequences, pad_id = _sequences(draw)
    real = _rectangle([[1] * len(sequence) for sequence in sequences], 0).bool()
    is_equal(
        _padded(answer, sequences, pad_id)[1],
        real,
        problem="The mask is wrong.",
        hint="A row of the mask has as many True as its sequence has tokens, and they come first.",
        slips={
            "The mask was read off the ids. A real token may have the padding's id, too: go by the lengths.": (
                _rectangle(sequences, pad_id) != pad_id
            ),
            "It is inverted: True means a real token.": ~real,
            "Everything is True: the padding would be attended to.": torch.ones_like(real),
        },
    )


# Exercise 2: mean pooling


def _texts(draw) -> tuple[Tensor, Tensor]:
    """Hidden states (B, T, D) and a mask (B, T), padded on the right, on the left, and not at all."""
    length, width = draw.sizes(2, of=(5, 7, 11))
    places = torch.arange(length)
    cut = draw.number(1, length - 2)
    mask = torch.stack([places <= cut, places >= cut, places >= 0, places == cut])
    return draw.normal(4, length, width) + 1, mask


def _pooled(answer, hidden: Tensor, mask: Tensor) -> Tensor:
    batch_size, length, width = hidden.shape
    return is_tensor(
        answer(hidden, mask),
        (batch_size, width),
        letters="(B, D)",
        hint="The mean runs over the tokens, axis 1.",
        slips={(batch_size, length): "The mean ran over the features. It runs over the tokens, axis 1."},
    )


def pool_shape(answer, draw):
    """The shape (B, D)."""
    _pooled(answer, *_texts(draw))


def pool_library(answer, draw):
    """Equal to torch.masked.mean."""
    hidden, mask = _texts(draw)
    column = mask[:, :, None]
    total = (hidden * column).sum(1)
    worst = is_equal(
        _pooled(answer, hidden, mask),
        torch.masked.mean(hidden, dim=1, mask=column.expand_as(hidden)),
        problem="This is not the mean over the real tokens.",
        hint="Set the padding's vectors to 0, add up, and divide each row by the number of its real tokens.",
        slips={
            "The padding counts as well: the mask has no effect.": hidden.mean(1),
            "The sum is right; it was divided by T, padding included.": total / hidden.shape[1],
            "This is the sum. Divide it by the number of real tokens.": total,
            "This is the mean over the padding: True means a real token.": torch.masked.mean(
                hidden, dim=1, mask=~column.expand_as(hidden)
            ).nan_to_num(),
            "Only the first token was read.": hidden[:, 0],
            "All rows were divided by the same count. Each text has its own.": total / mask.sum(),
        },
    )
    return f"Largest difference to torch.masked.mean: {worst:.1e}."


# Exercise 3: a head and its loss


def _head(draw, scale: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pooled vectors (B, D), a head's weight (C, D) and bias (C,), and targets (B,); in fp64."""
    batch_size, width, n_classes = draw.sizes(3, of=(3, 5, 7, 11))
    pooled, weight = (draw.normal(rows, width, dtype=torch.float64) for rows in (batch_size, n_classes))
    targets = torch.randint(n_classes, (batch_size,), generator=draw.generator)
    return scale * pooled, weight, draw.normal(n_classes, dtype=torch.float64), targets


def _classified(answer, pooled: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    logits, loss = are_results(answer(pooled, weight, bias, targets), 2, "logits, loss")
    shape = len(pooled), len(weight)
    logits = is_tensor(logits, shape, name="`logits`", letters="(B, C)", hint="One row a text, one column a class.")
    return logits, is_tensor(loss, (), name="`loss`", hint="One number for the whole batch: a mean.")


def classify_shapes(answer, draw):
    """Logits (B, C) and a loss without axes."""
    _classified(answer, *_head(draw))


def classify_logits(answer, draw):
    """The logits equal F.linear's."""
    pooled, weight, bias, targets = _head(draw)
    expected = F.linear(pooled, weight, bias)
    is_equal(
        _classified(answer, pooled, weight, bias, targets)[0],
        expected,
        tolerance=1e-10,
        problem="The logits are wrong.",
        hint="A product of each pooled vector with each row of the weight, plus the bias.",
        slips={
            "The bias is missing.": F.linear(pooled, weight),
            "These are probabilities. Logits come before the softmax.": expected.softmax(-1),
            "These are log-probabilities. Logits come before the softmax.": expected.log_softmax(-1),
        },
    )


def classify_loss(answer, draw):
    """The loss equals F.cross_entropy."""
    pooled, weight, bias, targets = _head(draw)
    logits = F.linear(pooled, weight, bias)
    worst = is_equal(
        _classified(answer, pooled, weight, bias, targets)[1],
        F.cross_entropy(logits, targets),
        tolerance=1e-10,
        problem="This is not the mean cross-entropy.",
        hint="The loss of one row: the log of the sum of all its exponentials, minus the logit of the right class.",
        slips={
            "This is the sum over the rows. The loss is their mean.": F.cross_entropy(logits, targets, reduction="sum"),
            "A softmax was taken twice: cross_entropy wants logits.": F.cross_entropy(logits.softmax(-1), targets),
            "The sign is wrong: a loss is minus a log-probability.": -F.cross_entropy(logits, targets),
            "The log is missing.": -F.nll_loss(logits.softmax(-1), targets),
            "The logits went in without a softmax.": F.nll_loss(logits, targets),
        },
    )
    return f"Largest difference to cross_entropy: {worst:.1e}."


def classify_unlabeled(answer, draw):
    """Logits in the thousands give a finite loss, and targets of -100 are left out."""
    hint = "exp(1000) overflows. `logsumexp` and `log_softmax` subtract the largest logit first."
    pooled, weight, bias, targets = _head(draw, scale=1000.0)
    got = _classified(answer, pooled, weight, bias, targets)[1]
    is_finite(got, problem="With large logits, the loss is not finite.", hint=hint)
    expected = F.cross_entropy(F.linear(pooled, weight, bias), targets)
    is_equal(got, expected, tolerance=1e-6, problem="With large logits, the loss is wrong.", hint=hint)

    pooled, weight, bias, targets = _head(draw)
    targets[draw.number(0, len(targets) - 1)] = -100
    logits, labeled = F.linear(pooled, weight, bias), targets != -100
    expected = F.cross_entropy(logits, targets)
    is_equal(
        _classified(answer, pooled, weight, bias, targets)[1],
        expected,
        tolerance=1e-10,
        problem="A row without a label (-100) changes the loss.",
        hint="Choose the labeled rows first; the mean is over them alone.",
        slips={
            "The sum leaves the row out, but it was divided by all rows.": expected * labeled.double().mean(),
            "The target -100 was used as a class number.": F.cross_entropy(
                logits, targets.where(labeled, len(weight) - 1)
            ),
        },
    )


# Exercise 6: an accuracy with its interval


def _interval(answer, n_right: int, n: int) -> Tensor:
    """The student's two ends as a tensor (2,)."""
    ends = are_results(answer(n_right, n), 2, "low, high")
    for one in ends:
        if isinstance(one, bool) or not (
            isinstance(one, int | float) or (isinstance(one, Tensor) and one.numel() == 1)
        ):
            raise NotYet(
                "An end of the interval is not a number.",
                {"expected": "two numbers", "got": describe(one)},
                "Return the lower end and the upper end.",
            )
    return torch.tensor([float(one) for one in ends], dtype=torch.float64)


def _by_scipy(n_right: int, n: int, level: float = 0.95) -> Tensor:
    from scipy.stats import binomtest

    found = binomtest(n_right, n).proportion_ci(confidence_level=level, method="wilson")
    return torch.tensor([found.low, found.high], dtype=torch.float64)


def wilson_numbers(answer, draw):
    """Two numbers."""
    _interval(answer, draw.number(5, 9), 11)


def wilson_library(answer, draw):
    """Equal to SciPy's, for z = 1.96 or its exact value."""
    n = draw.number(20, 90)
    n_right = draw.number(n // 2, n - 3)
    share = n_right / n
    half = 1.96 * math.sqrt(share * (1 - share) / n)
    expected = _by_scipy(n_right, n)
    worst = is_equal(
        _interval(answer, n_right, n),
        expected,
        tolerance=1e-4,
        problem=f"For {n_right} right of {n}, the interval is wrong.",
        hint="Go through the formula once more: the center, the root, and the second bracket, which divides both.",
        slips={
            "This is the simple interval, accuracy plus and minus 1.96 standard errors.": torch.tensor(
                [share - half, share + half]
            ),
            "This is z = 1: one standard error. For 95 % it is 1.96.": _by_scipy(n_right, n, math.erf(0.5**0.5)),
            "This is percent. The task asks for shares from 0 to 1.": 100 * expected,
            "The ends have changed places.": expected.flip(0),
        },
    )
    return f"Largest difference to SciPy's: {worst:.1e}."


def wilson_ends(answer, draw):
    """At 0 and at n right answers, it still has a width, and stays within 0 and 1."""
    n = draw.number(5, 90)
    for n_right in (0, n):
        is_equal(
            _interval(answer, n_right, n),
            _by_scipy(n_right, n),
            tolerance=1e-4,
            problem=f"For {n_right} right of {n}, the interval is wrong.",
            hint="Five right of five do not prove that a classifier never fails: the interval keeps a width, and stays "
            "between 0 and 1.",
        )
