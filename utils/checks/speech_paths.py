"""Properties for lab 18: collapsing a path, greedy decoding, and CTC's forward pass, beside F.ctc_loss."""

import itertools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from utils.checks.calls import NotYet, describe
from utils.checks.properties import is_equal, is_tensor


def labels_of(path: list[int], blank: int) -> list[int]:
    """The labels that a path collapses to."""
    return [label for label, _ in itertools.groupby(path) if label != blank]


def is_labels(got, name: str = "the labels") -> list[int]:
    """The list of whole numbers `got`. Raises NotYet for anything else."""
    if isinstance(got, Tensor) and got.dim() == 1 and not got.is_floating_point():
        got = got.tolist()
    got = list(got) if isinstance(got, tuple) else got
    if not isinstance(got, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in got):
        raise NotYet(
            f"{name.capitalize()} are not a list of whole numbers.",
            {"expected": "a list such as [4, 7]", "got": describe(got)},
            "`tensor.tolist()` makes plain numbers.",
        )
    return got


def same_labels(got: list[int], expected: list[int], *, problem: str, hint: str, slips: dict[str, list[int]]) -> None:
    """Nothing, if the two lists are the same. Raises NotYet otherwise."""
    if got != expected:
        why = next((why for why, value in slips.items() if value == got), hint)
        raise NotYet(problem, {"expected": str(expected), "got": str(got)}, why)


def _slips(path: list[int], blank: int) -> dict[str, list[int]]:
    """What misconceptions make of a path, by hint."""
    kept = [label for label in path if label != blank]
    return {
        "The blanks were dropped first, so labels met that a blank had kept apart. Merge first.": [
            label for label, _ in itertools.groupby(kept)
        ],
        "Repeats were not merged.": kept,
        "The blanks are still there.": [label for label, _ in itertools.groupby(path)],
        "Every label stands there once: only neighbors are merged.": list(dict.fromkeys(kept)),
        "The path came back as it was.": path,
    }


def _path(draw, runs: list[int]) -> list[int]:
    """A path that stays at each of the runs' classes for some frames."""
    return [label for label in runs for _ in range(draw.number(1, 3))]


def collapse_repeats(answer, draw):
    """Repeats become one, blanks vanish."""
    blank = draw.number(4, 7)
    runs = [0, blank, 2, 1, blank, 3, 0, blank]
    path = [*_path(draw, runs), blank, 1, 1]
    same_labels(
        is_labels(answer(path, blank)),
        labels_of(path, blank),
        hint="Go through the path and look at neighbors.",
        problem=f"The path {path} with blank {blank} collapses to other labels.",
        slips=_slips(path, blank),
    )


def collapse_doubles(answer, draw):
    """A blank between equal labels keeps both."""
    blank = draw.number(3, 6)
    double = draw.number(0, 2)
    path = [blank, *_path(draw, [double, blank, double]), *_path(draw, [(double + 1) % 3, blank])]
    same_labels(
        is_labels(answer(path, blank)),
        labels_of(path, blank),
        hint="Two equal labels with a blank between are two.",
        problem=f"The path {path} with blank {blank} collapses to other labels.",
        slips=_slips(path, blank),
    )
    for short in ([], [blank], [blank, blank]):
        same_labels(
            is_labels(answer(short, blank)),
            [],
            problem=f"The path {short} has no labels.",
            hint="An empty list is a right answer.",
            slips={},
        )


# Exercise 4b: greedy


def greedy_reads(answer, draw):
    """The labels of the likeliest path."""
    C = draw.number(4, 7)
    blank = C - 1
    path = _path(draw, [0, blank, 1, 2, blank, 2, 0, 1])
    logits = 0.3 * draw.normal(len(path), C)
    logits[torch.arange(len(path)), torch.tensor(path)] += 4
    log_probs = logits.log_softmax(-1)
    by_time = log_probs.argmax(0).tolist()
    same_labels(
        is_labels(answer(log_probs, blank)),
        labels_of(path, blank),
        problem="These are not the labels of the likeliest path.",
        hint="The best class of each frame, then collapse.",
        slips={
            **_slips(path, blank),
            "The maximum runs over the frames: take it over the classes.": by_time,
            "The least likely classes were taken.": labels_of(logits.argmin(1).tolist(), blank),
        },
    )


def greedy_blank(answer, draw):
    """The blank may be any class."""
    C, path = draw.number(4, 7), []
    while not {0, 1, C - 1} <= set(path):  # else a wrong blank would not show
        log_probs = (3 * draw.normal(12, C)).log_softmax(-1)
        path = log_probs.argmax(-1).tolist()
    for blank in (0, 1):
        same_labels(
            is_labels(answer(log_probs, blank)),
            labels_of(path, blank),
            problem=f"With the blank {blank}, the labels are others.",
            hint="Use the blank that is given.",
            slips={**_slips(path, blank), "The last class was taken for the blank.": labels_of(path, C - 1)},
        )


# Exercise 5: the forward pass


def log_prob_of(log_probs: Tensor, labels: list[int], blank: int) -> Tensor:
    """ln p(labels) by PyTorch's loss."""
    loss = F.ctc_loss(
        log_probs[:, None],
        torch.tensor([labels], dtype=torch.long),
        torch.tensor([len(log_probs)]),
        torch.tensor([len(labels)]),
        blank=blank,
        reduction="sum",
    )
    return -loss


def _summed(answer, log_probs: Tensor, labels: list[int], blank: int) -> Tensor:
    got = answer(log_probs, labels, blank)
    got = torch.tensor(got, dtype=torch.float64) if isinstance(got, float) else got
    return is_tensor(got, (), name="the log-probability", hint="One number: the logarithm of p(labels).")


def _best_path(log_probs: Tensor, labels: list[int], blank: int, of=None) -> Tensor:
    """ln of the likeliest path; with `of` of all paths, with "skips" between equal labels, too, or "no skips"."""
    places = [blank, *(c for label in labels for c in (label, blank))]
    alpha = [log_probs[0, c].item() if s < 2 else -math.inf for s, c in enumerate(places)]
    for row in log_probs[1:].tolist():
        new = []
        for s, c in enumerate(places):
            may_skip = s > 1 and c != blank and (of == "skips" or c != places[s - 2]) and of != "no skips"
            ways = [alpha[s], alpha[s - 1] if s else -math.inf, alpha[s - 2] if may_skip else -math.inf]
            total = max(ways) if of is None else torch.tensor(ways, dtype=torch.float64).logsumexp(0).item()
            new.append(row[c] + total)
        alpha = new
    ends = torch.tensor(alpha[-2:], dtype=torch.float64)
    return ends.max() if of is None else ends.logsumexp(0)


def _case(draw, labels: list[int], n_frames: int) -> tuple[Tensor, list[int], int]:
    """Log-probabilities (T, C) in fp64, labels, and a blank that is not among them."""
    C = max([2, *labels]) + 2
    return (1.5 * draw.normal(n_frames, C, dtype=torch.float64)).log_softmax(-1), labels, C - 1


def _equal(answer, case: tuple[Tensor, list[int], int], problem: str, hint: str) -> float:
    expected = log_prob_of(*case)
    slips = {
        "This is the likeliest path alone: add up all of them.": _best_path(*case),
        "Paths skip the blank between two equal labels. Then the two would be merged: forbid it.": _best_path(
            *case, of="skips"
        ),
        "No path skips a blank: between different labels it may.": _best_path(*case, of="no skips"),
        "This is the loss: return the log-probability itself.": -expected,
        "This is the probability: return its logarithm.": expected.exp(),
    }
    slips = {why: value for why, value in slips.items() if not math.isclose(value, expected, abs_tol=1e-4)}
    return is_equal(_summed(answer, *case), expected, tolerance=1e-8, problem=problem, hint=hint, slips=slips)


def forward_number(answer, draw):
    """One number."""
    _summed(answer, *_case(draw, [0, 1], 5))


def forward_plain(answer, draw):
    """Different labels."""
    worst = _equal(
        answer,
        _case(draw, [2, 0, 1][: draw.number(1, 3)], draw.number(5, 9)),
        "The sum over all paths to these labels is not F.ctc_loss's.",
        "alpha of the first frame: only the first blank and the first label. The sum may end at the last two places.",
    )
    return f"Largest difference from F.ctc_loss: {worst:.1e}."


def forward_repeats(answer, draw):
    """Repeated labels, and no labels at all."""
    _equal(
        answer,
        _case(draw, [1, 1, 0, 0][: draw.number(2, 4)], draw.number(7, 11)),
        "With repeated labels, the sum is not F.ctc_loss's.",
        "Between equal labels, a path must visit the blank.",
    )
    log_probs, _, blank = _case(draw, [], draw.number(2, 5))
    is_equal(
        _summed(answer, log_probs, [], blank),
        log_prob_of(log_probs, [], blank),
        tolerance=1e-8,
        problem="Without labels, one path is left: blanks only.",
        hint="Then there is a single place, and no last but one.",
    )


def forward_long(answer, draw):
    """A probability below any float is no trouble, and what does not fit has probability 0."""
    expected = torch.tensor(0.0)
    while expected > -800:  # exp(-746) is 0
        log_probs = (12 * draw.normal(150, 4, dtype=torch.float64)).log_softmax(-1)
        case = log_probs, [0, 1, 1, 2, 0], 3
        expected = log_prob_of(*case)
    got = _summed(answer, *case).double()
    is_equal(
        got,
        expected,
        tolerance=1e-5,
        problem="Over 150 frames, the sum is not F.ctc_loss's.",
        hint="150 small factors make 0 on a computer. Add logarithms: a product is a sum, and a sum is a logsumexp.",
        slips={
            "The probability has underflowed to 0. Work with logarithms throughout.": torch.tensor(
                -math.inf, dtype=torch.float64
            )
        },
    )
    log_probs, labels, blank = _case(draw, [1, 1, 1], draw.number(2, 4))
    is_equal(
        _summed(answer, log_probs, labels, blank).double(),
        torch.tensor(-math.inf, dtype=torch.float64),
        problem="Three equal labels need five frames. In fewer, the log-probability is minus infinity.",
        hint="torch.logsumexp of nothing but -inf is -inf, which is right; beware of NaN.",
    )
