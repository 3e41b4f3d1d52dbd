"""Properties for lab 16: the best span of an answer, or none."""

import itertools

import torch

from utils.checks.calls import NotYet, describe
from utils.checks.properties import are_results


def brute_force(start, end, in_passage, longest: int) -> tuple[int, int]:
    """The best pair by trying all; (0, 0) unless it beats that score."""
    places = [t for t in range(len(start)) if in_passage[t]]
    pairs = [(i, j) for i, j in itertools.product(places, places) if 0 <= j - i < longest]
    best = max(pairs, key=lambda pair: float(start[pair[0]] + end[pair[1]]))
    return best if float(start[best[0]] + end[best[1]]) > float(start[0] + end[0]) else (0, 0)


def _inputs(draw, n_question: int, n_passage: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Start and end logits (T,), and which tokens belong to the passage; [CLS] is 0, [SEP] the last."""
    T = n_question + n_passage + 3
    start, end = draw.normal(T, dtype=torch.float64), draw.normal(T, dtype=torch.float64)
    in_passage = torch.zeros(T, dtype=torch.bool)
    in_passage[n_question + 2 : -1] = True
    start[0] = end[0] = -20.0
    return start, end, in_passage


def _span(answer, start, end, in_passage, longest: int, problem: str, hint: str, slips: dict) -> None:
    expected = brute_force(start, end, in_passage, longest)
    got = are_results(answer(start, end, in_passage, longest), 2, "first, last")
    try:
        got = tuple(int(one) for one in got)
    except (TypeError, ValueError):
        raise NotYet(
            "The span is not two whole numbers.", {"expected": "first, last", "got": describe(got)}, "Use `int(...)`."
        ) from None
    if got == expected:
        return
    hint = next((why for why, value in slips.items() if value == got), hint)
    scored = {
        name: float(start[i] + end[j])
        for name, (i, j) in (("expected", expected), ("got", got))
        if _within(i, j, start)
    }
    facts = {
        name: f"{pair}, score {scored[name]:.3f}" if name in scored else f"{pair}"
        for name, pair in (("expected", expected), ("got", got))
    }
    raise NotYet(problem, facts, hint)


def _within(i: int, j: int, start: torch.Tensor) -> bool:
    return 0 <= i < len(start) and 0 <= j < len(start)


def _slips(start, end, in_passage, longest: int) -> dict[str, tuple[int, int]]:
    T, everywhere = len(start), torch.ones(len(start), dtype=torch.bool)
    places = in_passage.nonzero()[:, 0]
    apart = (int(places[start[places].argmax()]), int(places[end[places].argmax()]))
    return {
        "The answer may be at most `longest` tokens long.": brute_force(start, end, in_passage, T),
        "`longest` counts tokens: a span of one token has first = last.": brute_force(
            start, end, in_passage, longest + 1
        ),
        "The answer must lie in the passage, not in the question.": brute_force(start, end, everywhere, longest),
        "Start and end were chosen one by one. Look at pairs: the end may not lie before the start.": apart,
    }


def span_inside(answer, draw):
    """Only pairs in the passage count, the end not before the start."""
    longest = 50
    start, end, in_passage = _inputs(draw, draw.number(3, 5), draw.number(7, 11))
    first, last = (int(one) for one in in_passage.nonzero()[:, 0][[0, -1]])
    start[last], end[first] = 5.0, 5.0  # the best of each alone, in the wrong order
    start[1], end[2] = 6.0, 6.0  # a tempting span of the question
    _span(
        answer,
        start,
        end,
        in_passage,
        longest,
        "This is not the best span of the passage.",
        "Try all pairs of passage tokens with first <= last; keep the one with the largest start + end.",
        _slips(start, end, in_passage, longest),
    )


def span_length(answer, draw):
    """Long spans are not allowed."""
    start, end, in_passage = _inputs(draw, draw.number(3, 5), draw.number(9, 13))
    first, last = (int(one) for one in in_passage.nonzero()[:, 0][[0, -1]])
    start[first], end[last] = 6.0, 6.0  # the best pair, and far too long
    longest = draw.number(1, 4)
    end[min(first + longest, last - 1)] = 5.5  # one token too long
    _span(
        answer,
        start,
        end,
        in_passage,
        longest,
        f"With at most {longest} tokens, this is not the best span.",
        "last - first + 1 tokens may be at most `longest`.",
        _slips(start, end, in_passage, longest),
    )


def span_none(answer, draw):
    """No answer: the pair (0, 0) wins unless a span scores more."""
    for lead in (-0.5, 0.0, 0.5):
        start, end, in_passage = _inputs(draw, draw.number(3, 5), draw.number(7, 11))
        longest = 5
        i, j = brute_force(start, end, in_passage, longest)
        start[0] = float(start[i] + end[j]) - lead - 1.0
        end[0] = 1.0
        if lead == 0.0:
            start[i], end[j], start[0], end[0] = 40.0, 30.0, 50.0, 20.0  # equal to the last bit
        _span(
            answer,
            start,
            end,
            in_passage,
            longest,
            "The answer should be (0, 0), no answer." if lead <= 0 else "There is an answer here.",
            "Compare the best span's score with start[0] + end[0]; return (0, 0) unless the span scores more.",
            {
                "The span wins only if it scores more; here it does not.": (i, j),
                "A span that scores more than start[0] + end[0] is the answer.": (0, 0),
            },
        )
    return "As trying all pairs finds it."
