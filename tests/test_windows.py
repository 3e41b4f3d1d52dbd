"""Long texts in windows: every token once, one window as the model alone, and the mean over several."""

import pytest
import torch

from utils import environment
from utils.models.heads import SequenceClassifier, encode_texts
from utils.models.pretrained import load_model
from utils.models.windows import predict_window_logits, text_windows, window_batch, window_logits

TEXTS = ["A film.", "", "word " * 50 + "and an end", "good " * 23]


@pytest.fixture(scope="module")
def classifier():
    environment.seed_everything(0)
    encoder, tokenizer = load_model("reviews-bert")
    return SequenceClassifier(encoder).eval(), tokenizer


def test_windows_hold_every_token_once(classifier):
    _, tokenizer = classifier
    for text, parts in zip(TEXTS, text_windows(tokenizer, TEXTS, window=16), strict=True):
        ids = tokenizer.encode(text).ids
        assert [token for part in parts for token in part[1:-1]] == ids[1:-1]
        assert all(3 > len(part) or len(part) <= 16 for part in parts)
        assert all((part[0], part[-1]) == (ids[0], ids[-1]) for part in parts)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_of_a_long_text_the_ends_are_kept(classifier, most):
    _, tokenizer = classifier
    body = tokenizer.encode(TEXTS[2]).ids[1:-1]
    kept = [token for part in text_windows(tokenizer, TEXTS[2:3], 10, most)[0] for token in part[1:-1]]
    ahead = (most + 1) // 2 * 8
    assert kept == body[:ahead] + body[len(body) - (most * 8 - ahead) :]


def test_one_window_is_the_model_alone(classifier):
    model, tokenizer = classifier
    found = predict_window_logits(model, tokenizer, TEXTS[:1])
    with torch.no_grad():
        alone = model(torch.tensor(encode_texts(tokenizer, TEXTS[:1], 64)))
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)


def test_several_windows_are_the_mean_over_all_tokens(classifier):
    model, tokenizer = classifier
    found = predict_window_logits(model, tokenizer, TEXTS, window=16, batch_size=3)
    for i, parts in enumerate(text_windows(tokenizer, TEXTS, 16)):
        with torch.no_grad():
            hidden = torch.cat([model.transformer(torch.tensor([ids]))[0][0] for ids in parts])
            torch.testing.assert_close(found[i], model.head(hidden.mean(dim=0)), atol=1e-4, rtol=0)
    batch = window_batch(text_windows(tokenizer, TEXTS, 16), 0, [0, 1, 0, 1])
    assert batch["text"].max() == 3 and len(batch["text"]) == len(batch["input_ids"])
    assert window_logits(model, batch["input_ids"], batch["attention_mask"], batch["text"]).shape == (4, 2)


def test_bad_arguments_are_named(classifier):
    model, tokenizer = classifier
    with pytest.raises(ValueError, match="window of at least 3 and most of at least 1, got 2 and None"):
        text_windows(tokenizer, TEXTS, window=2)
    with pytest.raises(ValueError, match="at least one text, got none"):
        predict_window_logits(model, tokenizer, [])
