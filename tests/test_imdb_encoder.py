"""The review experiment: batches in windows, margins as text, and a result file that is whole or refused."""

import base64
import itertools
import json

import numpy as np
import pytest
import torch

from utils.data import corpora
from utils.experiments import imdb_encoder
from utils.experiments.sentiment import load_sentiment
from utils.models.windows import text_windows


def test_margins_survive_as_text():
    values = np.random.default_rng(0).normal(size=7).astype(np.float16)
    found = np.frombuffer(base64.b64decode(imdb_encoder.pack_margins(values)), "<f2")
    assert (found == values).all()


def test_batches_hold_every_review_once_an_epoch():
    _, tokenizer = load_sentiment()
    texts = [f"film {i} " * (1 + 9 * (i % 7)) for i in range(75)]
    windows = text_windows(tokenizer, texts, most=2)
    batches = itertools.islice(imdb_encoder.review_batches(windows, list(range(75)), 0, batch_size=32), 3)
    seen = [batch["targets"] for batch in batches]
    assert sorted(torch.cat(seen).tolist()) == list(range(75)) and [len(rows) for rows in seen].count(32) == 2


def test_the_objective_is_the_mean_over_reviews_with_a_gradient_to_the_adapter():
    model, tokenizer = load_sentiment()
    windows = text_windows(tokenizer, ["A good film.", "bad " * 200], most=2)
    batch = next(imdb_encoder.review_batches(windows, [1, 0], 0))
    loss, count = imdb_encoder.review_windows(model, batch)
    loss.backward()
    assert count == 2 and loss.item() > 0 and model.head.weight.grad.abs().sum() > 0
    assert sum(p.requires_grad for p in model.parameters()) == 74


def test_a_damaged_result_file_is_one_error(tmp_path):
    path = tmp_path / "imdb_encoder.json"
    for content in (None, "{", "{}", json.dumps({"n": {"test": 3}, "margins": {"encoder": {"test": "AAAA"}}})):
        if content is not None:
            path.write_text(content)
        with pytest.raises(ValueError, match="make them anew: python -m utils.launch imdb-encoder"):
            imdb_encoder.load_results(tmp_path)


def test_the_committed_results_are_those_of_the_held_out_reviews():
    result = imdb_encoder.load_results()
    for split in imdb_encoder.JUDGED:
        labels = np.array(corpora.reviews("imdb", split)["label"][:])
        for name, margins in result["margins"].items():
            assert ((margins[split] > 0) == labels).mean() == pytest.approx(result["accuracy"][name][split], abs=1e-3)


def test_the_shipped_adapter_gives_the_committed_margins():
    model, tokenizer = load_sentiment(imdb_encoder.ADAPTER)
    result, texts = imdb_encoder.load_results(), corpora.reviews("imdb", "test")["text"][:6]
    found = imdb_encoder.margins(model, tokenizer, texts, result["windows"])
    assert np.abs(found - result["margins"]["encoder"]["test"][:6]).mean() < 0.25
