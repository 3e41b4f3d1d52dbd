"""The course's reader: the packaged encoder with an adapter and a span head, trained on questions made by rule."""

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tqdm.auto import tqdm

from utils import environment
from utils.data import sources
from utils.data.span_questions import SpanQuestion, span_questions
from utils.experiments.fine_tuning import ENCODER, linear_schedule
from utils.experiments.results import ResultFile, loss_curve, one_process
from utils.experiments.sentiment import EVERY_LAYER
from utils.metrics.answers import exact_match, token_f1
from utils.metrics.intervals import bootstrap_mean
from utils.models import adapters, spans
from utils.models.heads import SpanExtractor, span_extraction
from utils.models.pretrained import load_model
from utils.text.overlap_answers import overlap_answer
from utils.training.loop import TrainConfig, Trainer

NAME = "answer-spans"
ADAPTER = sources.WEIGHTS / NAME
RESULT = ResultFile("answer_spans", NAME)
LORA = adapters.LoRAConfig(rank=8, alpha=16, targets=EVERY_LAYER)
SEED, BATCH_SIZE, LEARNING_RATE = 0, 16, 1e-3
N_TRAIN, N_VALIDATION, N_TEST = 20_000, 500, 1000
SHARES_TRIED = (0.0, 0.25, 0.5, 0.6, 0.7, 0.8, 1.0)


def new_reader(seed: int = SEED) -> tuple[SpanExtractor, Tokenizer]:
    """The packaged encoder with a fresh span head and fresh adapters, and its tokenizer."""
    torch.manual_seed(seed)
    encoder, tokenizer = load_model(ENCODER)
    model = SpanExtractor(encoder)
    adapters.add_lora(model, LORA)
    return model, tokenizer


def recipe(steps: int, accumulate_steps: int = 1) -> TrainConfig:
    """The training of a reader; more micro-batches a step need less memory."""
    return linear_schedule(steps, LEARNING_RATE, max(1, steps // 20), accumulate_steps=accumulate_steps)


def train_reader(
    model: SpanExtractor,
    tokenizer: Tokenizer,
    questions: Sequence[SpanQuestion],
    steps: int,
    seed: int = SEED,
    accumulate_steps: int = 1,
) -> Iterator:
    """Train a reader on questions; yields the loop's records. A step's questions come in micro-batches."""
    trainer = Trainer(model, span_extraction, recipe(steps, accumulate_steps))
    encoded = spans.encode_questions(tokenizer, questions)
    return trainer.fit(spans.span_batches(*encoded, BATCH_SIZE // accumulate_steps, seed))


def reader_answers(model: SpanExtractor, tokenizer: Tokenizer, questions: Sequence[SpanQuestion]) -> list[str]:
    """The reader's answer to each question, "" where it says that there is none."""
    pairs, _ = spans.encode_questions(tokenizer, questions)
    return [reading.answer for reading in spans.read_pairs(model, pairs)]


def overlap_answers(questions: Sequence[SpanQuestion], least_share: float) -> list[str]:
    """The word-overlap baseline's answer to each question."""
    return [overlap_answer(q.question, q.passage, least_share) for q in questions]


def judge(answers: Sequence[str], questions: Sequence[SpanQuestion]) -> dict[str, np.ndarray]:
    """Exact match and token F1 of each answer. Shapes: (N,) each."""
    pairs = list(zip(answers, (q.answer for q in questions), strict=True))
    measures = {"exact_match": exact_match, "f1": token_f1}
    return {name: np.array([measure(*pair) for pair in pairs]) for name, measure in measures.items()}


def best_share(questions: Sequence[SpanQuestion]) -> float:
    """The share of shared words below which the baseline says "no answer", chosen by F1 on training questions."""
    return max(SHARES_TRIED, key=lambda share: judge(overlap_answers(questions, share), questions)["f1"].mean())


def summary(questions: Sequence[SpanQuestion], systems: dict[str, Sequence[str]]) -> dict:
    """Measures of each system with intervals, on all questions and on those with and without an answer; the paired
    difference of the first system to each other one; and exact match by kind of question."""

    def interval(values: np.ndarray) -> list[float]:
        found = bootstrap_mean(values)
        return [round(number, 4) for number in (found.estimate, found.low, found.high)]

    answerable = np.array([q.answerable for q in questions])
    parts = {"all": answerable | True, "answerable": answerable, "unanswerable": ~answerable}
    scores = {name: judge(answers, questions) for name, answers in systems.items()}
    first, *others = systems
    kinds = sorted({q.kind for q in questions})
    rows = {kind: np.array([q.kind == kind for q in questions]) for kind in kinds}
    return {
        "systems": {
            name: {part: {m: interval(values[keep]) for m, values in score.items()} for part, keep in parts.items()}
            for name, score in scores.items()
        },
        "differences": {
            other: {m: interval(scores[first][m] - scores[other][m]) for m in ("exact_match", "f1")} for other in others
        },
        "exact_match_by_kind": {
            name: {kind: round(float(score["exact_match"][keep].mean()), 4) for kind, keep in rows.items()}
            for name, score in scores.items()
        },
    }


def answer_spans(folder: Path | None = None) -> Path:
    """Train the shipped reader, save its adapter in half precision, and judge the saved files beside the baselines."""
    one_process(NAME)
    began, where = time.perf_counter(), folder or ADAPTER
    environment.seed_everything(SEED)
    model, tokenizer = new_reader()
    train = span_questions(N_TRAIN, "train", SEED)
    steps = N_TRAIN // BATCH_SIZE
    records = list(tqdm(train_reader(model, tokenizer, train, steps), total=steps, desc=NAME))
    adapters.save_adapter(where, model, LORA, ENCODER, {}, torch.float16)
    reader, tokenizer = load_reader(where)
    share = best_share(train[:1000])
    result = {
        **RESULT.heading(),
        "data": "questions made by rule (utils.data.span_questions); wordings, names and values of the test are in no "
        "other split",
        "seed": SEED,
        "precision": environment.budget().precision,
        "n_train": N_TRAIN,
        "least_share": share,
    }
    for split, n in (("validation", N_VALIDATION), ("test", N_TEST)):
        questions = span_questions(n, split, SEED)
        systems = {
            "reader": reader_answers(reader, tokenizer, questions),
            "word overlap": overlap_answers(questions, share),
            "always no answer": [""] * n,
        }
        result[split] = {"n": n, **summary(questions, systems)}
    result["minutes"] = round((time.perf_counter() - began) / 60, 1)
    RESULT.write(result, folder)
    card = {
        "name": NAME,
        **{name: result[name] for name in ("command", "data", "seed", "hardware", "versions", "minutes")},
        "base": ENCODER,
        "trained_parameters": adapters.count_parameters(model)[0],
        "recipe": dataclasses.asdict(recipe(steps)),
        **loss_curve(records),
        "test_exact_match": result["test"]["systems"]["reader"]["all"]["exact_match"],
        "licence": "Weights: Apache-2.0. The questions are made by rule.",
    }
    (where / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return where


def load_reader(folder: Path | None = None) -> tuple[SpanExtractor, Tokenizer]:
    """The course's reader for evaluation: the packaged encoder with the shipped adapter and span head.

    Raises: SourceError if the encoder is not installed; WeightsError or AdapterError if the adapter does not fit it.
    """
    encoder, tokenizer = load_model(ENCODER)
    model = SpanExtractor(encoder)
    adapters.load_adapter(folder or ADAPTER, model)
    return model.eval(), tokenizer
