"""Held-out evaluation of the course's own models: bits per byte beside n-grams', masked words, next sentence."""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import nn

from utils import environment
from utils.data import batches, corpora, masking
from utils.experiments.pretraining import SEED, SEPARATOR, masking_ids, sentence_ends
from utils.experiments.results import ResultFile
from utils.metrics.intervals import Interval, paired_bootstrap_ratio, wilson
from utils.models.pretrained import load_card, load_model
from utils.models.scoring import document_log_probs
from utils.text.ngrams import AddK, KneserNey, NGramModel

RESULT = ResultFile("pretraining", "evaluate-pretrained")
NGRAM_ORDER = 5
MASKED_LENGTH, MASKED_TOKENS_PER_BATCH = 512, 4096


def document_nats(
    model: nn.Module | NGramModel, corpus: batches.TokenCorpus, separator: int | None = None
) -> np.ndarray:
    """What each document costs under a causal model: -log p summed over its tokens, behind the begin symbol.

    `separator` is the begin symbol of a neural model; an n-gram model knows its own. Shapes: (n_documents,), nats.
    """
    documents = [corpus.document(i) for i in range(len(corpus))]
    if isinstance(model, NGramModel):
        return np.array([-model.log_probs(document).sum() for document in documents])
    return np.array([-scores.sum() for scores in document_log_probs(model, documents, separator)])


def bits_per_byte_difference(nats_a: np.ndarray, nats_b: np.ndarray, texts: Sequence[str]) -> Interval:
    """Bits per byte of model a minus those of model b on the same documents, with an interval over documents.

    Shapes: nats (n_documents,), as from `document_nats`. `nats_b` of zeros gives the interval of model a alone.
    """
    n_bytes = [len(text.encode()) for text in texts]
    return paired_bootstrap_ratio(nats_a / math.log(2), nats_b / math.log(2), n_bytes, generator=SEED)


def evaluate_causal(model: nn.Module, tokenizer: Tokenizer, train: Sequence[str], test: Sequence[str]) -> dict:
    """Bits per byte on the test texts: the model, a Kneser-Ney n-gram and the unigram, counted on the same tokens."""
    separator, vocab_size = tokenizer.token_to_id(SEPARATOR), tokenizer.get_vocab_size()
    corpus = batches.tokenize(test, tokenizer)
    nats = {"model": document_nats(model, corpus, separator)}
    training = batches.tokenize(train, tokenizer)
    documents = [training.document(i) for i in range(len(training))]
    for name, ngram in (
        ("kneser_ney_5", KneserNey(NGRAM_ORDER, vocab_size, bos=separator)),
        ("unigram", AddK(1, vocab_size, bos=separator)),
    ):
        nats[name] = document_nats(ngram.fit(documents), corpus)
    zero = np.zeros(len(corpus))
    return {
        "documents": len(corpus),
        "tokens": len(corpus.tokens),
        "bytes": sum(len(text.encode()) for text in test),
        "nats_per_token": {name: round(float(values.sum() / len(corpus.tokens)), 4) for name, values in nats.items()},
        "bits_per_byte": {name: rounded(bits_per_byte_difference(values, zero, test)) for name, values in nats.items()},
        "model_minus_kneser_ney_5": rounded(bits_per_byte_difference(nats["model"], nats["kneser_ney_5"], test)),
    }


@torch.inference_mode()
def predict_masked(
    model: nn.Module,
    corpus: batches.TokenCorpus,
    tokenizer: Tokenizer,
    length: int,
    n: int | None = None,
    seed: int = SEED,
) -> dict[str, np.ndarray]:
    """Mask 15 % of the words of a corpus and predict them, with next sentence: what was right, row by row.

    `n` micro-batches, or all of the corpus once. Shapes: `targets` and `predicted` (n_masked,) token ids, `row` of each
    (n_masked,), `next_right` (n_rows,) bool.
    """
    ids, ends, device = masking_ids(tokenizer), sentence_ends(tokenizer), next(model.parameters()).device
    n = n or batches.Slices(corpus, MASKED_TOKENS_PER_BATCH, ids.sep, seed).per_epoch
    make = masking.masked_pair_batches(corpus, ids, ends, length, MASKED_TOKENS_PER_BATCH, seed)
    found: dict[str, list] = {"targets": [], "predicted": [], "row": [], "next_right": []}
    rows = 0
    for batch in itertools.islice(make, n):
        batch = {name: tensor.to(device) for name, tensor in batch.items()}
        hidden = model.encode(batch["input_ids"], segment_ids=batch["segment_ids"])
        chosen = batch["targets"] != batches.IGNORE
        found["targets"].append(batch["targets"][chosen])
        found["predicted"].append(model.word_logits(hidden[chosen]).argmax(dim=-1))
        found["row"].append(chosen.nonzero()[:, 0] + rows)
        found["next_right"].append(model.next_sentence_logits(hidden).argmax(dim=-1) == batch["next_sentence"])
        rows += len(hidden)
    return {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}


def evaluate_masked(
    model: nn.Module,
    tokenizer: Tokenizer,
    train: Sequence[str],
    test: Sequence[str],
    length: int | None = None,
    n: int | None = None,
) -> dict:
    """Masked-word accuracy beside the most frequent word's, and next-sentence accuracy, on the test texts."""
    length = length or MASKED_LENGTH
    found = predict_masked(model, batches.tokenize(test, tokenizer), tokenizer, length, n)
    training = batches.tokenize(train, tokenizer)
    most_frequent = int(np.bincount(training.tokens).argmax())
    n_rows, targets = len(found["next_right"]), found["targets"]

    def by_row(right: np.ndarray) -> np.ndarray:
        return np.bincount(found["row"], weights=right, minlength=n_rows)

    model_right, unigram_right = by_row(found["predicted"] == targets), by_row(targets == most_frequent)
    masked, zero = by_row(np.ones(len(targets))), np.zeros(n_rows)

    def interval(a: np.ndarray, b: np.ndarray) -> dict:
        return rounded(paired_bootstrap_ratio(a, b, masked, generator=SEED))

    return {
        "rows": n_rows,
        "row_length": length,
        "masked_words": len(targets),
        "masked_accuracy": {"model": interval(model_right, zero), "unigram": interval(unigram_right, zero)},
        "model_minus_unigram": interval(model_right, unigram_right),
        "most_frequent_word": tokenizer.id_to_token(most_frequent),
        "next_sentence_accuracy": rounded(wilson(int(found["next_right"].sum()), n_rows)),
    }


def rounded(interval: Interval) -> dict[str, float]:
    """An interval as it stands in a result file."""
    return {name: round(getattr(interval, name), 4) for name in ("estimate", "low", "high", "level")}


def evaluate_pretrained(folder: Path | None = None) -> Path:
    """Evaluate the shipped models on all test reviews; writes `pretraining.json` and returns its path."""
    train, test = (corpora.reviews("imdb", split)["text"][:] for split in ("train", "test"))
    result = {
        **RESULT.heading(),
        "seed": SEED,
        "data": f"IMDB: {len(test)} reviews of the course's test split; n-grams counted on {len(train)} training ones",
    }
    for name, evaluate in (("reviews-gpt", evaluate_causal), ("reviews-bert", evaluate_masked)):
        model, tokenizer = load_model(name)
        model = model.to(environment.device())
        result[name] = {"trained_steps": load_card(name)["steps"], **evaluate(model, tokenizer, train, test)}
    return RESULT.write(result, folder)
