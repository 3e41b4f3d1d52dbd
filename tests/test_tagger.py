"""Taggers: hashed features, an encoder that ignores padding, its files, and a linear one."""

import zlib

import numpy as np
import pytest
import torch

from utils import environment
from utils.data.people_daily import BIO, sentences_of
from utils.models.config import TransformerConfig
from utils.models.linear_tagger import LinearTagger, neighbor_features
from utils.models.pretrained import WeightsError
from utils.models.tagger import Tagger, load_tagger, pad_features, predict_label_probs, save_tagger
from utils.text import hashing
from utils.training import objectives

LABELS = ("O", "B-x", "I-x")


def tiny(units="characters", labels=LABELS):
    environment.seed_everything(3)
    return Tagger(TransformerConfig(97, 64, 16, 2, 2, positions="rotary"), units, labels, d_embed=8)


def test_a_features_row_is_its_crc():
    assert hashing.row("c江", 100) == 1 + zlib.crc32("c江".encode()) % 99
    rows = hashing.character_features("江泽民江", 2**14)
    assert rows.shape == (4, 3) and rows.min() > 0
    assert rows[0, 0] == rows[3, 0] and rows[0, 1] != rows[3, 1], "the same character, another pair"
    words = hashing.word_features(("北京", "１９９８", "北京"), 2**14)
    assert words.shape == (3, 7) and (words[0] == words[2]).all()


@pytest.mark.parametrize("call", [
    lambda: hashing.character_features("", 9), lambda: hashing.word_features((), 9),
    lambda: hashing.word_features(("a", ""), 9),
])  # fmt: skip
def test_empty_input_is_refused(call):
    with pytest.raises(ValueError, match="expected .* at least one character|one character or word"):
        call()


def test_padding_changes_nothing():
    model = tiny().eval()
    alone, together = (
        predict_label_probs(model, ["新华社"])[0],
        predict_label_probs(model, ["新华社", "新华社北京电" * 3]),
    )
    torch.testing.assert_close(alone, together[0], atol=1e-6, rtol=0)
    assert [probs.shape for probs in together] == [(3, 3), (18, 3)]
    torch.testing.assert_close(together[1].sum(dim=1), torch.ones(18))


def test_learns_a_handful_of_sentences():
    model, optimizer = tiny(labels=BIO), None
    sentences = sentences_of("江/nr  泽民/nr  在/p  北京/ns  。/w  李/nr  鹏/nr  说/v")
    features, mask = pad_features(model.features([s.text for s in sentences]))
    targets = torch.full(mask.shape, -100)
    for i, sentence in enumerate(sentences):
        targets[i, : len(sentence.bio)] = torch.tensor([BIO.index(label) for label in sentence.bio])
    batch = {"features": features, "attention_mask": mask, "targets": targets}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss, count = objectives.labelling(model, batch)
        optimizer.zero_grad()
        (loss / count).backward()
        optimizer.step()
    assert count == sum(len(s.text) for s in sentences) and loss / count < 0.05
    probs = predict_label_probs(model, [s.text for s in sentences])
    assert [[BIO[i] for i in p.argmax(1)] for p in probs] == [list(s.bio) for s in sentences]


def test_files_give_the_model_back(tmp_path):
    model = tiny("words", ("n", "v")).eval()
    save_tagger(tmp_path, model, {"name": "tiny"}, torch.float32)
    again = load_tagger(tmp_path)
    assert again.labels == ("n", "v") and again.units == "words" and not again.training
    for a, b in zip(*(predict_label_probs(m, [("北京", "说")]) for m in (model, again)), strict=True):
        torch.testing.assert_close(a, b)


def test_damaged_and_missing_files_are_one_error(tmp_path):
    with pytest.raises(WeightsError, match="config.json of a saved tagger"):
        load_tagger(tmp_path)
    save_tagger(tmp_path, tiny(), {})
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(WeightsError, match="safetensors"):
        load_tagger(tmp_path)
    save_tagger(tmp_path, tiny(), {})
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"d_model": 16', '"d_model": 32'))
    with pytest.raises(WeightsError, match="expected weights of a Tagger"):
        load_tagger(tmp_path)


@pytest.mark.parametrize("units, labels", [("bytes", LABELS), ("words", ("n",))])
def test_what_a_tagger_cannot_be(units, labels):
    with pytest.raises(ValueError, match="expected units one of .*, at least two labels"):
        tiny(units, labels)


def test_the_linear_tagger_learns_from_neighbors():
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("abc"), 9)) for _ in range(200)]
    labels = [["B" if i and text[i - 1] == "a" else "O" for i in range(9)] for text in texts]
    tagger = LinearTagger().fit(texts[:150], labels[:150])
    assert tagger.predict(texts[150:]) == labels[150:]
    assert "2\n" in neighbor_features("a")[0] and len(neighbor_features(["ab"])[0]) == 14
    with pytest.raises(ValueError, match="a label for each position"):
        LinearTagger().fit(["ab"], [["O"]])
