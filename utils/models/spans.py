"""Reading: where in a passage the answer to a question stands, or that it is not there.

Letters in shape comments: B batch, T time. A pair is [CLS] question [SEP] passage [SEP]; the score of "no answer" is
that of the span from [CLS] to [CLS].
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from utils.data.batches import Batch, pad, similar_lengths
from utils.data.span_questions import SpanQuestion
from utils.models.heads import best_span

MOST_TOKENS = 256
LONGEST_ANSWER = 12


@dataclass(frozen=True)
class Pair:
    """A question and a passage as the model reads them; `offsets` (T, 2) are characters of the passage.

    in_passage: (T,) bool, True where an answer may lie.
    """

    question: str
    passage: str
    input_ids: list[int]
    segment_ids: list[int]
    tokens: list[str]
    offsets: list[tuple[int, int]]
    in_passage: Tensor


@dataclass(frozen=True)
class Reading:
    """What a model makes of a pair: the best span and its score, the score of "no answer", and all logits.

    answer: the span's text, or "" where "no answer" scores at least as much as the span. span: its first and last
    token. logits: (T, 2).
    """

    answer: str
    span: tuple[int, int]
    span_text: str
    score: float
    null_score: float
    logits: Tensor


def encode_pair(tokenizer: Tokenizer, question: str, passage: str, max_tokens: int = MOST_TOKENS) -> Pair:
    """A question with its passage, tokenized.

    Raises: ValueError if either holds no word that the tokenizer knows, or both together are too long.
    """
    encoding = tokenizer.encode(question, passage)
    unknown = tokenizer.token_to_id("[UNK]")
    parts = np.array([-1 if part is None else part for part in encoding.sequence_ids])
    for part, name in enumerate(("question", "passage")):
        ids = np.array(encoding.ids)[parts == part]
        if not len(ids):
            raise ValueError(f"expected a {name} with at least one word, got an empty one; type some text")
        if (ids == unknown).all():
            raise ValueError(
                f"expected a {name} in the script of the model's vocabulary (English), got none of its words; "
                f"the model would see only unknown tokens"
            )
    if len(encoding.ids) > max_tokens:
        raise ValueError(
            f"expected at most {max_tokens} tokens of question and passage together, got {len(encoding.ids)}; "
            f"shorten the passage"
        )
    return Pair(
        question,
        passage,
        encoding.ids,
        encoding.type_ids,
        encoding.tokens,
        encoding.offsets,
        torch.from_numpy(parts == 1),
    )


def span_targets(pair: Pair, start: int, answer: str) -> tuple[int, int]:
    """First and last token of the answer that begins at character `start`; (0, 0), that is [CLS], for no answer.

    Raises: ValueError if the answer does not stand there.
    """
    if start < 0:
        return 0, 0
    if not answer or pair.passage[start : start + len(answer)] != answer:
        raise ValueError(f"expected the answer {answer!r} at character {start} of the passage, found other text there")
    end = start + len(answer)
    inside = [
        t
        for t, (a, b) in enumerate(pair.offsets)
        if pair.in_passage[t] and a < end and b > start  # overlap
    ]
    return inside[0], inside[-1]


def encode_questions(tokenizer: Tokenizer, questions: Sequence[SpanQuestion]) -> tuple[list[Pair], list[tuple]]:
    """The pairs of made questions, and the tokens of their answers."""
    pairs = [encode_pair(tokenizer, q.question, q.passage) for q in questions]
    return pairs, [span_targets(pair, q.start, q.answer) for pair, q in zip(pairs, questions, strict=True)]


def span_batch(pairs: Sequence[Pair], targets: Sequence[tuple] | None = None) -> Batch:
    """Pairs as one padded batch. Shapes: input_ids, attention_mask, segment_ids (B, T), targets (B, 2)."""
    input_ids, attention_mask = pad([pair.input_ids for pair in pairs], 0, multiple=8)
    segment_ids, _ = pad([pair.segment_ids for pair in pairs], 0, multiple=8)
    batch = {"input_ids": input_ids, "attention_mask": attention_mask, "segment_ids": segment_ids}
    return batch if targets is None else {**batch, "targets": torch.tensor(targets)}


def span_batches(pairs: Sequence[Pair], targets: Sequence[tuple], batch_size: int = 16, seed: int = 0) -> Iterator:
    """Endless training batches in a new order each epoch, pairs of about equal length together."""
    lengths = np.array([len(pair.input_ids) for pair in pairs])
    for epoch in itertools.count():
        for rows in similar_lengths(lengths, batch_size, np.random.default_rng([seed, epoch])):
            yield span_batch([pairs[i] for i in rows], [targets[i] for i in rows])


def reading_of(pair: Pair, logits: Tensor, margin: float = 0.0) -> Reading:
    """The best span by logits (T, 2); the answer is "" unless it beats "no answer" by more than the margin."""
    start, end, score = best_span(logits, pair.in_passage, LONGEST_ANSWER)
    null_score = float(logits[0].sum())
    text = pair.passage[pair.offsets[start][0] : pair.offsets[end][1]]
    return Reading(text if score - null_score > margin else "", (start, end), text, score, null_score, logits)


@torch.inference_mode()
def read_pairs(model: nn.Module, pairs: Sequence[Pair], batch_size: int = 4, margin: float = 0.0) -> list[Reading]:
    """What a `SpanExtractor` answers to each pair, in evaluation mode; the model's mode is restored."""
    device = next(model.parameters()).device
    order = sorted(range(len(pairs)), key=lambda i: len(pairs[i].input_ids))
    was_training, found = model.training, {}
    model.eval()
    try:
        for at in range(0, len(order), batch_size):
            rows = order[at : at + batch_size]
            batch = {name: tensor.to(device) for name, tensor in span_batch([pairs[i] for i in rows]).items()}
            logits = model(batch["input_ids"], batch["attention_mask"], batch["segment_ids"]).float().cpu()
            for i, row in zip(rows, logits, strict=True):
                found[i] = reading_of(pairs[i], row[: len(pairs[i].input_ids)], margin)
    finally:
        model.train(was_training)
    return [found[i] for i in range(len(pairs))]


def likely_spans(pair: Pair, logits: Tensor, k: int = 5) -> tuple[list[tuple[int, int, float]], float]:
    """The k likeliest spans as (first token, last token, probability), best first, and the probability of no answer.

    The probabilities are a softmax of start + end logits over all spans that may be an answer, and "no answer".
    Shapes: logits (T, 2).
    """
    T = len(logits)
    scores = logits[:, None, 0] + logits[None, :, 1]  # (start, end)
    distance = torch.arange(T)[None, :] - torch.arange(T)[:, None]
    fits = (distance >= 0) & (distance < LONGEST_ANSWER) & pair.in_passage[:, None] & pair.in_passage[None, :]
    fits[0, 0] = True  # no answer
    probs = scores.double().masked_fill(~fits, -torch.inf).flatten().softmax(dim=0)
    null = float(probs[0])
    probs[0] = 0
    best = probs.topk(min(k, int(fits.sum()) - 1))
    return [(int(i) // T, int(i) % T, float(p)) for p, i in zip(*best, strict=True)], null


def end_probs(pair: Pair, logits: Tensor) -> Tensor:
    """How likely the answer starts, and ends, at each token of the passage; the rest is at [CLS], no answer.

    Shapes: logits (T, 2) -> (T, 2), zeros outside of the passage.
    """
    allowed = pair.in_passage.clone()
    allowed[0] = True
    probs = logits.masked_fill(~allowed[:, None], -torch.inf).softmax(dim=0)
    return probs * pair.in_passage[:, None]
